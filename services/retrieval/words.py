"""Words that say nothing about a subject."""

_ENGLISH = """
a about after again all also am an and any are as at be because been before being but by can could did do does doing
done for from get give had has have having he her here him his how i if in into is it its just let like make many may me
mean might more most much must my no nor not of off on once one only or other our out over please same shall she should
so some such tell than that the their them then there these they this those through to too under until up us very want
was we were what when where which while who whom whose why will with would you your s t don isn aren won m re ve ll d
"""

FUNCTION_WORDS = frozenset(_ENGLISH.split())
"""English words that questions on any subject have in common, so that sharing them says nothing."""
