// Source: the World tokenizer of RWKV-LM (rwkv_tokenizer.py); escapes as GGUF files write them.
#include "rwkv.hpp"

namespace pacos::text {
namespace {

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char small = static_cast<char>(c | 0x20);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

}  // namespace

void append_unescaped(std::string& out, std::string_view text) {
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 == text.size()) {
            out += text[i];
            continue;
        }
        const char c = text[++i];
        const bool is_byte = c == 'x' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
        if (is_byte) {
            out += static_cast<char>(digit(text[i + 1]) << 4 | digit(text[i + 2]));
            i += 2;
        } else {
            out += c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
        }
    }
}

Rwkv::Rwkv(const Vocabulary& vocabulary, int32_t unknown) : unknown_(unknown) {
    std::vector<std::string> spelled(vocabulary.size());
    std::vector<Trie::Entry> entries;
    for (uint32_t id = 0; id < vocabulary.size(); ++id) {
        if (!vocabulary.is_text(id)) continue;
        append_unescaped(spelled[id], vocabulary.text(id));
        entries.push_back({spelled[id], static_cast<int32_t>(id)});
    }
    pieces_.build(std::move(entries));
}

void Rwkv::encode(std::string_view text, bool, std::vector<int32_t>& out) const {
    for (size_t at = 0; at < text.size();) {
        size_t longest = 0;
        int32_t found = unknown_;
        pieces_.prefixes(text.substr(at), [&](size_t size, int32_t id) {
            longest = size;
            found = id;
        });
        if (found != none) out.push_back(found);
        at += longest > 0 ? longest : 1;
    }
}

}  // namespace pacos::text
