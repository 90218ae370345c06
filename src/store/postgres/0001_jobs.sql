-- Times are milliseconds since 1970 by the wall clock. Texts named *_json hold what serde writes.
CREATE TABLE jobs (
    seq               BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                TEXT    COLLATE "C" NOT NULL UNIQUE,
    version           BIGINT  NOT NULL,
    kind              TEXT    NOT NULL,
    requires          TEXT,
    spec_json         TEXT    NOT NULL,
    state             TEXT    NOT NULL,
    priority          BIGINT  NOT NULL,
    parents_json      TEXT    NOT NULL,
    retry_json        TEXT    NOT NULL,
    attempts          BIGINT  NOT NULL,
    failures          BIGINT  NOT NULL,
    expiries          BIGINT  NOT NULL,
    not_before        BIGINT  NOT NULL,
    lease_token       TEXT,
    lease_worker      TEXT,
    lease_carrier     TEXT,
    lease_begun_at    BIGINT,
    lease_expires_at  BIGINT,
    lease_deadline_at BIGINT,
    worker            TEXT,
    unsuited_json     TEXT    NOT NULL,
    progress_json     TEXT,
    output_json       TEXT,
    error_json        TEXT,
    created_at        BIGINT  NOT NULL,
    updated_at        BIGINT  NOT NULL
);
CREATE INDEX jobs_ready ON jobs (priority DESC, seq) WHERE state = 'ready';
CREATE INDEX jobs_leased ON jobs (lease_expires_at) WHERE state = 'leased';
CREATE INDEX jobs_waiting ON jobs (seq) WHERE state = 'waiting';
CREATE INDEX jobs_by_kind ON jobs (kind, state, id);

CREATE TABLE job_parents (
    parent TEXT NOT NULL,
    child  TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (parent, child)
);

-- `key` is the worker's name, or a digest of it when it is too long for an index.
CREATE TABLE workers (
    key            TEXT   NOT NULL PRIMARY KEY,
    id             TEXT   NOT NULL,
    version        BIGINT NOT NULL,
    abilities_json TEXT   NOT NULL,
    said_json      TEXT   NOT NULL,
    last_contact   BIGINT NOT NULL
);
