// As BERT's tokenizers do it: clean, fold, cut into words, then pieces. A piece that begins a word has U+2581 in front.
#include "wordpiece.hpp"

#include <algorithm>

#include "unicode.hpp"

namespace pacos::text {
namespace {

constexpr std::string_view meta = "\xE2\x96\x81";
constexpr size_t most_characters = 100;  // of a word; a longer one is unknown

bool is_between(uint32_t code, uint32_t first, uint32_t last) { return code >= first && code <= last; }

// Ideographs stand alone. The gap before 2B920 is that of the tokenizers with which models were trained.
bool is_ideograph(uint32_t code) {
    return is_between(code, 0x4E00, 0x9FFF) || is_between(code, 0x3400, 0x4DBF) || is_between(code, 0xF900, 0xFAFF) ||
           is_between(code, 0x20000, 0x2A6DF) || is_between(code, 0x2A700, 0x2B81F) ||
           is_between(code, 0x2B920, 0x2CEAF) || is_between(code, 0x2F800, 0x2FA1F);
}

bool parts_words(uint32_t code) {
    if (code < 0x80) return code == ' ' || code == '\t' || code == '\n' || code == '\r';
    return category(code) == "Zs" || code == 0x2028 || code == 0x2029;
}

bool is_nothing(uint32_t code) {
    if (code < 0x80) return code < ' ' || code == 0x7F;
    const std::string_view kind = category(code);
    return code == replacement || (kind[0] == 'C' && kind != "Cn");
}

bool is_punctuation(uint32_t code) {
    if (code < 0x80) return is_between(code, '!', '/') || is_between(code, ':', '@') || is_between(code, '[', '`') || is_between(code, '{', '~');
    return category(code)[0] == 'P';
}

}  // namespace

struct WordPiece::Word {
    std::string text;
    size_t characters = 0;
};

WordPiece::WordPiece(const Vocabulary& vocabulary, const WordPieceRules& rules) : vocabulary_(vocabulary), rules_(rules) {
    for (uint32_t id = 0; id < vocabulary.size(); ++id) {
        if (!vocabulary.is_text(id)) continue;
        std::string_view text = vocabulary.text(id);
        const bool first = text.substr(0, meta.size()) == meta;
        if (first) text.remove_prefix(meta.size());
        if (text.empty()) continue;
        size_t& size = longest_[first][static_cast<uint8_t>(text[0])];
        size = std::max(size, text.size());
    }
}

void WordPiece::encode(std::string_view text, bool, std::vector<int32_t>& out) const {
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    Word word;
    std::vector<uint32_t> folded;
    for (size_t at = 0; at < text.size();) {
        const size_t length = valid_length(bytes, text.size(), at);
        if (length == 0) {
            ++at;
            continue;
        }
        const uint32_t code = decode_valid(bytes, at);
        if (parts_words(code)) {
            finish(word, out);
            continue;
        }
        if (is_nothing(code)) continue;
        const bool alone = is_ideograph(code);
        if (alone) finish(word, out);
        folded.clear();
        fold(code, rules_.strip_marks, rules_.lower, folded);
        for (const uint32_t one : folded) add(one, word, out);
        if (alone) finish(word, out);
    }
    finish(word, out);
}

void WordPiece::add(uint32_t code, Word& word, std::vector<int32_t>& out) const {
    const bool alone = is_punctuation(code);
    if (alone || parts_words(code)) finish(word, out);
    if (parts_words(code)) return;
    append_utf8(word.text, code);
    ++word.characters;
    if (alone) finish(word, out);
}

void WordPiece::finish(Word& word, std::vector<int32_t>& out) const {
    const std::string_view text = word.text;
    const size_t before = out.size();
    bool known = word.characters <= most_characters;
    for (size_t at = 0, size = 0; known && at < text.size(); at += size) {
        const int32_t id = longest(text.substr(at), at == 0, size);
        known = id != none;
        if (known) out.push_back(id);
    }
    if (!known) {
        out.resize(before);
        if (rules_.unknown != none) out.push_back(rules_.unknown);
    }
    word.text.clear();
    word.characters = 0;
}

// The longest piece that `rest` begins with, and its size.
int32_t WordPiece::longest(std::string_view rest, bool first, size_t& size) const {
    const auto is_tail = [&](size_t at) { return at < rest.size() && (static_cast<uint8_t>(rest[at]) & 0xC0) == 0x80; };
    std::string marked(first ? meta : "");
    marked += rest;
    for (size = std::min(rest.size(), longest_[first][static_cast<uint8_t>(rest[0])]); size > 0; --size) {
        if (is_tail(size)) continue;
        const int32_t id = vocabulary_.find_text(std::string_view(marked).substr(0, marked.size() - rest.size() + size));
        if (id != none) return id;
    }
    return none;
}

}  // namespace pacos::text
