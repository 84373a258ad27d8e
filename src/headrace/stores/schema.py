"""The database's tables, as steps: step N brings a database of `user_version` N to N + 1.

A step that was released is never edited; a change is a further step. Run by `sqlite.SqliteStore` when it opens a file.
"""

from typing import Final

STEPS: Final = (
    """
    CREATE TABLE usage (
        request TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        model TEXT NOT NULL,
        outcome TEXT NOT NULL,
        ended_us INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX usage_by_end ON usage (ended_us);
    CREATE INDEX usage_by_tenant ON usage (tenant, ended_us);
    CREATE INDEX usage_by_model ON usage (model, ended_us);
    CREATE TABLE usage_total (
        tenant TEXT NOT NULL,
        model TEXT NOT NULL,
        outcome TEXT NOT NULL,
        requests INTEGER NOT NULL,
        input_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        PRIMARY KEY (tenant, model, outcome)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE mark (file TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE lease (
        replica TEXT NOT NULL,
        incarnation TEXT NOT NULL,
        started_us INTEGER NOT NULL,
        ended_us INTEGER NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (replica, incarnation)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX lease_by_start ON lease (started_us);
    CREATE INDEX lease_open ON lease (started_us) WHERE ended_us = 0;
    CREATE TABLE decision (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        subject TEXT NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX decision_by_subject ON decision (subject, seq);
    CREATE TABLE key (id TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE value (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
)
