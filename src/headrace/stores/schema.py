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
    """
    CREATE TABLE entry (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        at_us INTEGER NOT NULL,
        hour_us INTEGER NOT NULL,
        book TEXT NOT NULL,
        kind TEXT NOT NULL,
        debit TEXT NOT NULL,
        credit TEXT NOT NULL,
        nanousd INTEGER NOT NULL CHECK (nanousd >= 0),
        subject TEXT NOT NULL,
        note TEXT NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
    CREATE INDEX entry_by_subject ON entry (subject) WHERE subject <> '';
    CREATE TRIGGER entry_stays BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
    CREATE TRIGGER entry_is_kept BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'entries are never removed'); END;
    CREATE TABLE balance (
        account TEXT NOT NULL,
        hour_us INTEGER NOT NULL,
        nanousd INTEGER NOT NULL,
        PRIMARY KEY (account, hour_us)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX balance_by_hour ON balance (hour_us);
    CREATE TABLE spend (
        hour_us INTEGER NOT NULL,
        tenant TEXT NOT NULL,
        team TEXT NOT NULL,
        key TEXT NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        task TEXT NOT NULL,
        unit TEXT NOT NULL,
        amount INTEGER NOT NULL,
        charge_nanousd INTEGER NOT NULL,
        cost_nanousd INTEGER NOT NULL,
        PRIMARY KEY (unit, hour_us, tenant, team, key, model, version, task)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE spend_day (
        day_us INTEGER NOT NULL,
        tenant TEXT NOT NULL,
        team TEXT NOT NULL,
        key TEXT NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        task TEXT NOT NULL,
        unit TEXT NOT NULL,
        amount INTEGER NOT NULL,
        charge_nanousd INTEGER NOT NULL,
        cost_nanousd INTEGER NOT NULL,
        PRIMARY KEY (unit, day_us, tenant, team, key, model, version, task)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE booked (device TEXT PRIMARY KEY, until_us INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE budget (scope TEXT NOT NULL, period TEXT NOT NULL, record BLOB NOT NULL, PRIMARY KEY (scope, period))
        STRICT, WITHOUT ROWID;
    CREATE TABLE budget_spent (
        budget TEXT NOT NULL,
        epoch TEXT NOT NULL,
        nanousd INTEGER NOT NULL,
        PRIMARY KEY (budget, epoch)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE price (
        id TEXT NOT NULL,
        from_us INTEGER NOT NULL,
        model TEXT NOT NULL,
        tenant TEXT NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (model, tenant, from_us)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX price_by_id ON price (id);
    CREATE INDEX lease_by_end ON lease (ended_us);
    CREATE TABLE rate (
        pool TEXT NOT NULL,
        from_us INTEGER NOT NULL,
        nanousd_per_hour INTEGER NOT NULL CHECK (nanousd_per_hour >= 0),
        basis TEXT NOT NULL,
        PRIMARY KEY (pool, from_us)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE spend_model (
        day_us INTEGER NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        task TEXT NOT NULL,
        unit TEXT NOT NULL,
        amount INTEGER NOT NULL,
        charge_nanousd INTEGER NOT NULL,
        cost_nanousd INTEGER NOT NULL,
        PRIMARY KEY (unit, day_us, model, version, task)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO spend_model SELECT day_us, model, version, task, unit,
        sum(amount), sum(charge_nanousd), sum(cost_nanousd)
        FROM spend_day GROUP BY unit, day_us, model, version, task;
    """,
)
