"""Conversations in one SQLite file: what was said, as a tree of messages, safe against kills and two writers at once.

    with Sessions() as sessions:
        talk = sessions.create(model="storyteller")
        question = sessions.append(talk.id, "user", "Tell me a story.")
        sessions.append(talk.id, "assistant", "Once upon a time ...", after=question.id)

Whoever keeps a conversation open says `after` what a message comes: two chats in one conversation become branches.
"""

from pacos.sessions.records import Conversation, Found, IdTaken, Message, NotKept
from pacos.sessions.store import ACTIVE, Sessions

__all__ = ("ACTIVE", "Conversation", "Found", "IdTaken", "Message", "NotKept", "Sessions")
