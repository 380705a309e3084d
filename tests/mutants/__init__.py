"""Mutants of the decision: each cell of its tables, each constant and each predicate changed, one at a time.

`python -m tests.mutants` (`make mutants`) plays to each mutant what reaches the changed place: the fast tests
of verdicts, then the explorer's slice. A test that fails, or a history that is wrong in another way than
before, kills it. `survivors.json` names the mutants that nothing kills, by their name or the beginning of it,
with the reason why they make no difference; a survivor that isn't named is an error, and so is a named one
that is killed. `killed.json` names what killed each of the others: `--open` tries those that neither file
has, and can be stopped and begun again; `--check` tries each that was killed with its killer alone.
"""
