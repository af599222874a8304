"""What data must pass before a branch takes it: checks, protected branches and hooks.

rules, kept, conditions     what the checks are, where they are kept, what they are in SQL
check                       runs those whose tables have changed; `report` and `junit` tell
protection, hooks, watch    what is asked before a branch moves, and told after it has
publish                     merge, check, and move the branch only if all is well
"""
