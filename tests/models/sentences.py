"""Texts whose vectors by all-MiniLM-L6-v2 are stored: what tokenizers and encoders may stumble over."""

from __future__ import annotations

_FABLE = "The fox looked at the grapes, jumped, fell, and said that they were sour anyway. "

TEXTS = (
    "",
    " \n\t ",
    "a",
    "This is an example sentence",
    "Each sentence is converted",
    "The QUICK brown Fox jumps over the LAZY dog!",
    "Ünïcödé àccénts: naïve café, Ångström, Çelik, ÑANDÚ, İstanbul",
    "e\u0301 decomposed, \u00e9 composed; Phở, Việt Nam, ﬁ ligature",
    "日本語の文章です。中文句子也在这里。",
    "한국어 문장도 있습니다",
    "Привет, мир! Καλημέρα κόσμε, ΣΊΣΥΦΟΣ",
    "مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดี",
    "emoji 😀👍🏽👨‍👩‍👧‍👦🇩🇪 and ❤️",
    "control\x00 characters\x07 and\u200b zero\u200dwidth\ufeff marks\x7f\u0085next\u00a0space\u3000wide",
    "don't stop-believing... (really?) [no] {yes} <tag> a_b c@d.e #f $5 100% 3.14159 1,000,000 x^2 ~`|\\",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism",
    "x" * 101 + " " + "y" * 100,
    "qwrtzpsdfg 漢字kana カタカナ\U00020000\U0001f9ff\ud7ff",
    "def main() -> None:\n    print('hello, world')  # code\n",
    "word " * 300,
    _FABLE * 40,
    (_FABLE + "Ein Fuchs sah hohe Trauben. 狐は葡萄を見た。 ") * 20,
)
LONG = 512  # tokens that the model can take; sentence-transformers stops at 256 by itself
