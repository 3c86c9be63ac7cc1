"""Writers that change what a server keeps, each its own keys, and note what became of it."""

import base64
import hashlib
import json
import threading

from client import DATABASE, Client
from ledger import GROUP

# Writers of everything, and of accounts alone, each of which costs the server a hash.
WRITERS, ACCOUNTS = 8, 2
SECRET = "a long secret"


class Writers:
    """Several writers at work."""

    def __init__(self, campaign, home, ledger, token, *words, accounts=ACCOUNTS, sizes=(40, 2000, 20000)):
        self.over, self.failures, self.threads, self.writers = threading.Event(), [], [], []
        for number in range(WRITERS + accounts):
            chance = campaign.random_for("writer", *words, number)
            writer = Writer(f"w{number}", ledger, Client(home, token), chance, sizes, "-".join(map(str, words)))
            step = writer.step if number < WRITERS else writer.account
            self.writers.append(writer)
            self.threads.append(threading.Thread(target=self.work, args=(step,)))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
        for writer in self.writers:
            writer.client.close()

    def work(self, step):
        """Takes steps until it is over or the server does not answer."""
        while not self.over.is_set():
            try:
                step()
            except OSError as error:
                if not self.over.is_set():
                    self.failures.append(str(error))
                return

    def refused(self):
        """Every refusal except for those of conditions that did not hold."""
        return [refusal for writer in self.writers for refusal in list(writer.refused) if refusal[0] != 412]


def filled(tag, size):
    """Bytes of a size that begin with a tag and are known by it to the last."""
    filler = hashlib.sha256(tag.encode()).hexdigest().encode()
    text = tag.encode() + b"/"
    return text + (filler * (max(size - len(text), 0) // len(filler) + 1))[: max(size - len(text), 0)]


def encoded(value):
    return base64.b64encode(value).decode()


class Writer:
    """Changes keys that nobody else changes, one after the other."""

    def __init__(self, name, ledger, client, chance, sizes, life):
        self.name, self.ledger, self.client, self.chance, self.sizes = name, ledger, client, chance, sizes
        # What is written in one life of a server differs from all that was written in the others.
        self.life = life
        # What was refused, and not because the server was gone.
        self.refused = []
        self.number = 0

    def step(self):
        """Makes one change of a random kind; an `OSError` if the server did not answer."""
        kinds = [self.write, self.delete, self.batch, self.compare, self.set, self.blob, self.rule]
        self.chance.choices(kinds, weights=[8, 2, 4, 4, 3, 2, 1])[0]()

    def tag(self, key):
        self.number += 1
        return f"{key}/{self.life}/{self.number}"

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

    def delete(self, key=None):
        key = key or self.key()
        body = {"key": key, "options": {"database": DATABASE}}
        self.send([("record", key)], None, "/store/Store/Delete", body)

    def batch(self):
        """Writes or deletes some keys together."""
        group = self.key("group", 4)
        keys = [f"{group}/{part}" for part in GROUP]
        value = None if self.chance.random() < 0.2 else filled(self.tag(group), self.chance.choice(self.sizes))
        changes = (
            [{"delete": key} for key in keys]
            if value is None
            else [{"write": {"key": key, "value": encoded(value)}} for key in keys]
        )
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
        self.send([("account", account)], b"there", "/auth/Auth/Generate", {"id": account, "secret": SECRET})
