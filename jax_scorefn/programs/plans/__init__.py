"""Which estimator for which choice of a program, found by measurement: candidates by rule, one pilot for all plans, and the plan."""
