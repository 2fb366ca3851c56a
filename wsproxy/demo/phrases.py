"""What the people of the chat feed say: parts of sentences, put together at random.

Owns: the words. Imports nothing of the project.
Invariant: the number of sentences is far larger than a compressor's window, so that a ratio comes from what language
and JSON really repeat and not from the same sentences said again.
"""

from random import Random

_OPENINGS = (
    "", "", "", "", "", "", "Honestly, ", "By the way, ", "Good news: ", "Just checked: ", "For the record, ",
    "I think ", "Looks like ", "Not sure, but ", "As far as I can see, ", "Quick question first: ", "Right, so ",
    "After lunch I noticed that ", "If I read the graphs right, ", "Turns out ", "Sorry for the noise, but ",
    "Hm, ", "Between us, ", "According to the customer, ", "One more thing: ", "Fair point, although ",
)  # fmt: skip

_SUBJECTS = (
    "the nightly import", "my train", "the new onboarding page", "our release branch", "the coffee machine upstairs",
    "the staging cluster", "Priya's patch", "the invoice from March", "that flaky browser test", "the search index",
    "the meeting with legal", "the mobile build", "the warehouse scanner", "the second cache", "the Lisbon office",
    "my laptop's battery", "the billing job", "the draft you sent around", "the map on the start page", "the backup",
    "the translation of the manual", "the old gateway", "the parking permit", "the load test", "the survey",
    "the checkout form", "the blue sensor", "the customer from Graz", "the password reset mail", "the weekly report",
    "the password policy", "the contract for the hall", "the queue in Frankfurt", "the projector in room four",
)  # fmt: skip

_VERBS = (
    "is slower than yesterday", "finally went through", "broke again at the third step", "needs another pair of eyes",
    "can wait until Thursday", "was moved to the other building", "has doubled in size since spring",
    "still shows the wrong currency", "lost every umlaut on the way", "came back with three comments",
    "works for me, oddly enough", "ran out of disk a minute ago", "is waiting for a signature",
    "should be fine by noon", "fails only when it rains, I swear", "got cancelled without a reason",
    "looks much better in the dark theme", "takes nine minutes instead of two", "answers with an empty page",
    "is the last thing on my list", "would be easier to delete than to fix", "made two people very happy",
    "has a typo in the headline", "refuses every file above ten megabytes", "was never tested on a phone",
    "should not be touched before the audit", "costs more than the whole team's lunch", "is on fire, literally no joke",
    "arrived with the wrong plug", "passed on the first try", "keeps asking for the old address",
    "disappears when you resize the window", "is green again", "has been quiet all week",
)  # fmt: skip

_ENDINGS = (
    ".", ".", ".", ".", ".", "!", "?", " :)", ", so I rolled it back.", ", could you have a look?",
    " and nobody knows why.",
    ", see the ticket.", " – I'll write it down.", ", let's talk after the stand-up.", ", no hurry though.",
    " since the update.", ", but only in Firefox.", ", which explains the alarm at 4.", " 👍", ", thanks to Zoë.",
    ", and the logs agree.", " for about half of the users.", ", I'd rather not guess.", " 🎉", ", again…",
    ", as discussed in Köln.", " (screenshot follows).", ", please don't restart anything.", ", so lunch first?",
)  # fmt: skip


def say(rng: Random) -> str:
    """One to four sentences."""
    return " ".join(_sentence(rng) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))))


def _sentence(rng: Random) -> str:
    text = rng.choice(_OPENINGS) + rng.choice(_SUBJECTS) + " " + rng.choice(_VERBS) + rng.choice(_ENDINGS)
    return text[0].upper() + text[1:]
