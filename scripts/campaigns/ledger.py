"""What clients sent to a server, what of it was acknowledged, and so what must and may be there.

Each key has one writer, which waits for the answer before it goes on. So what is there is what the
last acknowledged change left, or one that was sent after it.
"""

import base64
import hashlib
import json
import threading

import http.client

from home import PATIENCE

DATABASE = "campaign"
# A batch writes the same to each of these.
GROUP = ["a", "b", "c"]


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


class Change:
    """One change of one key: when it was sent and acknowledged, and what it leaves there."""

    __slots__ = ("sent", "acknowledged", "value", "version")

    def __init__(self, sent, value):
        self.sent, self.acknowledged, self.value, self.version = sent, None, value, None


class Ledger:
    """The changes of every key; `mark` tells the moment."""

    def __init__(self, mark):
        self.mark, self.changes, self.lock = mark, {}, threading.Lock()

    def send(self, things, value):
        """Notes that a change of some things goes out."""
        change = Change(self.mark(), value)
        with self.lock:
            for thing in things:
                self.changes.setdefault(thing, []).append(change)
        return change

    def acknowledge(self, change, version=None):
        """Notes that it was acknowledged."""
        change.version = version
        change.acknowledged = self.mark()

    def forget(self, things, change):
        """Notes that the server refused it, which says that nothing was changed."""
        with self.lock:
            for thing in things:
                self.changes[thing].remove(change)

    def count(self):
        """How many changes were acknowledged."""
        return len({id(change) for changes in self.changes.values() for change in changes if change.acknowledged is not None})

    def present(self, thing):
        """The last thing that was acknowledged."""
        changes = [change for change in self.changes.get(thing, []) if change.acknowledged is not None]
        return changes[-1].value if changes else None

    def allowed(self, thing, now):
        """What may be there if all ended at a moment: none stands for nothing."""
        values = [None]
        for change in self.changes.get(thing, []):
            if change.sent > now:
                break
            if change.acknowledged is not None and change.acknowledged <= now:
                values = []
            values.append(change.value)
        return values

    def wrong(self, seen, now=float("inf")):
        """What is not as it may be: pairs of a kind and a text. Kinds: `lost` (older or not there),
        `resurrected` (there though deleted), `altered` (never sent), `unreadable`, `half` (a batch)."""
        for thing in {**self.changes, **seen}:
            found = seen.get(thing)
            allowed = self.allowed(thing, now)
            if found in allowed:
                continue
            name = f"{thing[0]} `{thing[1]}`"
            if isinstance(found, Unreadable):
                yield "unreadable", f"{name}: {found}"
            elif found is None:
                yield "lost", f"{name} is not there, acknowledged was {brief(allowed)}"
            elif found not in [change.value for change in self.changes.get(thing, [])]:
                yield "altered", f"{name} is {brief([found])}, which was never sent"
            elif allowed == [None]:
                yield "resurrected", f"{name} is {brief([found])}, its deletion was acknowledged"
            else:
                yield "lost", f"{name} is the older {brief([found])}, acknowledged was {brief(allowed)}"
        for kind, key in self.changes:
            if kind == "record" and key.startswith("group/") and key.endswith("/" + GROUP[0]):
                found = [seen.get((kind, key[:-1] + part)) for part in GROUP]
                if any(value != found[0] for value in found) and not any(isinstance(v, Unreadable) for v in found):
                    yield "half", f"the batch of `{key[:-2]}` left {brief(found)}"


class Unreadable(Exception):
    """In the place of a value: the server says that it cannot be read."""


def brief(values):
    """Values in a few words."""
    return " or ".join(str(value if value is None or len(value) < 60 else value[:60] + b"...") for value in values)


def filled(tag, size):
    """Bytes of a size that begin with a tag and are known by it to the last."""
    filler = hashlib.sha256(tag.encode()).hexdigest().encode()
    text = tag.encode() + b"/"
    return text + (filler * (max(size - len(text), 0) // len(filler) + 1))[: max(size - len(text), 0)]


def encoded(value):
    return base64.b64encode(value).decode()


class Writer:
    """Changes keys that nobody else changes, one after the other."""

    def __init__(self, name, ledger, client, chance, sizes=(40, 2000, 20000)):
        self.name, self.ledger, self.client, self.chance, self.sizes = name, ledger, client, chance, sizes
        # What was refused, and not because the server was gone.
        self.refused = []
        self.number = 0

    def step(self):
        """Makes one change of a random kind; an `OSError` if the server did not answer."""
        kinds = [self.write, self.delete, self.batch, self.compare, self.set, self.blob, self.rule]
        self.chance.choices(kinds, weights=[8, 2, 4, 4, 3, 2, 1])[0]()

    def tag(self, key):
        self.number += 1
        return f"{key}/{self.number}"

    def send(self, things, value, path, body):
        """Sends a change and notes what became of it; the answer, or none if it was refused."""
        change = self.ledger.send(things, value)
        status, text = self.client.request(path, body)
        if status == 200:
            answer = json.loads(text)
            self.ledger.acknowledge(change, int(answer.get("version") or 0))
            return answer
        if status < 500 or status == 507:
            # Refused before anything was done.
            self.ledger.forget(things, change)
        self.refused.append((status, text.decode(errors="replace")))
        return None

    def key(self, kind="key", count=12):
        return f"{kind}/{self.name}/{self.chance.randrange(count)}"

    def write(self, key=None, version=None):
        key = key or self.key()
        value = filled(self.tag(key), self.chance.choice(self.sizes))
        options = {"database": DATABASE} | ({} if version is None else {"if_version": version})
        record = {"key": key, "value": encoded(value)}
        return self.send([("record", key)], value, "/store/Store/Write", {"record": record, "options": options})

    def delete(self):
        key = self.key()
        body = {"key": key, "options": {"database": DATABASE}}
        self.send([("record", key)], None, "/store/Store/Delete", body)

    def batch(self):
        """Writes or deletes some keys together."""
        group = self.key("group", 4)
        keys = [f"{group}/{part}" for part in GROUP]
        value = None if self.chance.random() < 0.2 else filled(self.tag(group), self.chance.choice(self.sizes))
        changes = [{"delete": key} if value is None else {"write": {"key": key, "value": encoded(value)}} for key in keys]
        things = [("record", key) for key in keys]
        self.send(things, value, "/store/Store/Batch", {"database": DATABASE, "changes": changes})

    def compare(self):
        """Writes only if the version is still the one that was read."""
        key = self.key("compared", 3)
        body = {"key": key, "options": {"database": DATABASE}}
        status, text = self.client.request("/store/Store/Read", body)
        if status in (200, 404):
            self.write(key, int(json.loads(text)["records"][0]["version"]) if status == 200 else 0)
        else:
            self.refused.append((status, text.decode(errors="replace")))

    def set(self):
        """Sets or deletes a setting; some are secret."""
        kind = self.chance.choice(["setting", "secret"])
        path = f"{kind}.{self.name}.{self.chance.choice('pqrs')}"
        if self.chance.random() < 0.25:
            self.send([("setting", path)], None, "/config/Config/Delete", {"path": path})
            return
        value = json.dumps(filled(self.tag(path), 60).decode()).encode()
        body = {"path": path, "value": {"data": value.decode()}, "options": {"secret": kind == "secret"}}
        self.send([("setting", path)], value, "/config/Config/Set", body)

    def blob(self):
        """Writes, writes over or deletes a blob; some have the same content as others."""
        key = self.key("blob", 3)
        if self.chance.random() < 0.25:
            self.send([("blob", key)], None, "/store/BlobStore/Delete", {"key": key})
            return
        tag = f"shared/{self.chance.randrange(3)}" if self.chance.random() < 0.3 else self.tag(key)
        value = filled(tag, 3000 if tag.startswith("shared") else self.chance.choice([0, 700, 9000, 70000]))
        self.send([("blob", key)], value, "/store/BlobStore/Write", {"key": key, "blob": encoded(value)})

    def rule(self):
        """Makes or deletes a rule."""
        rule = f"rule-{self.name}-{self.chance.randrange(3)}"
        if self.ledger.present(("rule", rule)):
            self.send([("rule", rule)], None, "/auth/Rules/Delete", {"id": rule})
            return
        body = {"rule": {"id": rule, "scope": "x", "access": "GRANTED"}}
        body["rule"]["resource"] = {"name": "none", "type": "service", "endpoint": "*"}
        self.send([("rule", rule)], b"there", "/auth/Rules/Create", body)

    def account(self):
        """Makes an account or deletes one; slow, since it costs a hash."""
        account = f"account-{self.name}-{self.chance.randrange(4)}"
        if self.ledger.present(("account", account)):
            self.send([("account", account)], None, "/auth/Accounts/Delete", {"id": account})
            return
        self.send([("account", account)], b"there", "/auth/Auth/Generate", {"id": account, "secret": "a long secret"})


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
