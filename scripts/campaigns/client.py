"""A client of the HTTP API, and all that it can see of what a server keeps."""

import base64
import contextlib
import http.client
import json

from home import PATIENCE

# Where the records of a campaign are.
DATABASE = "campaign"


class Client:
    """A connection to the HTTP API of a home, kept open."""

    def __init__(self, home, token):
        self.home, self.token, self.connection = home, token, None

    def request(self, path, body):
        """The status and the answer; an `OSError` if there was none."""
        if not self.connection:
            state = self.home.state()
            if not state:
                raise ConnectionError("no server has written where it is")
            host, port = state["api"].rsplit(":", 1)
            self.connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            # A server that refuses does not wait for the body; its answer may be there already.
            with contextlib.suppress(BrokenPipeError):
                self.connection.request("POST", path, json.dumps(body), headers)
            response = self.connection.getresponse()
            text = response.read()
            if response.will_close:
                self.close()
            return response.status, text
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionError(f"{path}: no answer: {error!r}") from error

    def json(self, path, body):
        """The answer to a request that has to succeed."""
        status, text = self.request(path, body)
        if status != 200:
            raise Refused(status, text.decode(errors="replace").strip())
        return json.loads(text)

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text.strip()}")
        self.status, self.text = status, text


class Unreadable(Exception):
    """In the place of a value: the server says that it cannot be read."""


def look(client):
    """All that is there, by kind and name; in the place of what cannot be read stands why."""
    seen = {}
    read_records(client, seen)
    read_settings(client, seen)
    for account in client.json("/auth/Accounts/List", {})["accounts"]:
        if account["id"] != "admin":
            seen["account", account["id"]] = b"there"
    for rule in client.json("/auth/Rules/List", {})["rules"]:
        if rule["id"] != "default":
            seen["rule", rule["id"]] = b"there"
    for key in client.json("/store/BlobStore/List", {})["keys"]:
        seen["blob", key] = read_blob(client, key)
    return seen


def read_records(client, seen):
    """Reads all records at once or, if one of them keeps that from being, one by one."""
    everything = {"key": "", "options": {"database": DATABASE, "prefix": True}}
    status, text = client.request("/store/Store/Read", everything)
    if status == 200:
        for record in json.loads(text)["records"]:
            seen["record", record["key"]] = base64.b64decode(record["value"])
        return
    if status == 401:
        raise Refused(status, text.decode(errors="replace").strip())
    keys = []
    status, text = client.request("/store/Store/List", {"options": {"database": DATABASE}})
    if status != 200:
        raise Refused(status, text.decode(errors="replace").strip())
    for line in text.splitlines():
        keys += json.loads(line).get("keys", [])
    for key in keys:
        status, text = client.request("/store/Store/Read", {"key": key, "options": {"database": DATABASE}})
        if status == 200:
            seen["record", key] = base64.b64decode(json.loads(text)["records"][0]["value"])
        else:
            seen["record", key] = Unreadable(text.decode(errors="replace").strip())


def read_settings(client, seen):
    """Reads all settings; if a secret cannot be read, the others."""
    status, text = client.request("/config/Config/List", {"options": {"secret": True}})
    if status == 200:
        for entry in json.loads(text)["entries"]:
            seen["setting", entry["path"]] = entry["value"]["data"].encode()
        return
    why = Unreadable(text.decode(errors="replace").strip())
    for entry in client.json("/config/Config/List", {})["entries"]:
        seen["setting", entry["path"]] = why if entry["secret"] else entry["value"]["data"].encode()


def read_blob(client, key):
    """The content of a blob."""
    try:
        status, text = client.request("/store/BlobStore/Read", {"key": key})
    except OSError as error:
        # The stream ends in the middle if what was read turns out to be damaged.
        return Unreadable(str(error))
    if status != 200:
        return Unreadable(text.decode(errors="replace").strip())
    content = b""
    for line in text.splitlines():
        piece = json.loads(line)
        if "blob" not in piece:
            return Unreadable(line.decode(errors="replace"))
        content += base64.b64decode(piece["blob"])
    return content
