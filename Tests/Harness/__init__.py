"""What tests in Python are made of: PostgreSQL servers, the built programs, pipelines of them, keys, faults of the network, clients of
the wire, and waiting. The tests of Conformance, Running and Monitoring take their fixtures from here; Chaos, Hostile and Churn are
schedules and checks on top of it."""
