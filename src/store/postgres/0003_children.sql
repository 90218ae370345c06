-- Parents are found by their child: when it is looked at, and when it is deleted.
CREATE INDEX job_parents_by_child ON job_parents (child);
