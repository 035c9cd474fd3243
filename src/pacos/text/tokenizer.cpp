// The C surface of the tokenizers: open, encode, spell. A tokenizer is constant once it is set up, so any number
// of threads may encode at the same time.
#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>

#include "bpe.hpp"
#include "failures.hpp"
#include "pacos.h"
#include "plamo2.hpp"
#include "rwkv.hpp"
#include "sentencepiece.hpp"
#include "specials.hpp"
#include "unigram.hpp"
#include "wordpiece.hpp"

using namespace pacos::text;

struct pacos_tokenizer {
    Vocabulary vocabulary;
    Specials specials;
    std::unique_ptr<Encoder> encoder;
    Bpe* bpe = nullptr;  // the encoder, when it has a splitter
};

namespace {

constexpr uint64_t max_text_bytes = uint64_t{1} << 30;

// Run `body`; what it throws becomes a code.
template <typename Body>
auto guarded(const Body& body) -> decltype(body()) {
    try {
        return body();
    } catch (const std::bad_alloc&) {
        return out_of_memory;
    } catch (const std::exception&) {
        return bad_argument;
    }
}

void append_spelled(std::string& out, std::string_view text, Spelling spelling) {
    if (spelling == plain) {
        out += text;
    } else if (spelling == escaped) {
        append_unescaped(out, text);
    } else if (spelling == meta_space) {
        for (size_t at = 0; at < text.size(); ++at) {
            const bool meta = text.compare(at, 3, "\xE2\x96\x81") == 0;
            out += meta ? ' ' : text[at];
            at += meta ? 2 : 0;
        }
    } else {
        const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
        for (size_t at = 0; at < text.size();) {
            const size_t length = valid_length(bytes, text.size(), at);
            if (length == 0) {
                out += text[at++];
                continue;
            }
            size_t after = at;
            const int32_t b = byte_of_letter(decode_valid(bytes, after));
            b == none ? out.append(text.substr(at, length)) : out.append(1, static_cast<char>(b));
            at = after;
        }
    }
}

int hex(char c) { return c <= '9' ? c - '0' : c - 'A' + 10; }

void append_piece(const pacos_tokenizer& t, uint32_t id, bool special, std::string& out) {
    const std::string_view text = t.vocabulary.text(id);
    switch (t.vocabulary.type(id)) {
        case control:
        case unknown:
            if (special) out += text;
            break;
        case user_defined: out += text; break;
        case byte:
            if (text.size() == 6) out += static_cast<char>(hex(text[3]) << 4 | hex(text[4]));
            break;
        case normal: append_spelled(out, text, t.encoder ? t.encoder->spelling() : plain); break;
        case unused:
        case undefined: break;
    }
}

template <typename Made>
int32_t use(pacos_tokenizer* t, std::unique_ptr<Made> encoder) {
    t->encoder = std::move(encoder);
    t->bpe = nullptr;
    return ok;
}

bool is_id(const pacos_tokenizer* t, int32_t id) { return id >= 0 && static_cast<uint32_t>(id) < t->vocabulary.size(); }

int64_t give(const std::string& text, uint8_t* out, uint64_t capacity) {
    if (text.size() <= capacity && !text.empty()) std::memcpy(out, text.data(), text.size());
    return static_cast<int64_t>(text.size());
}

}  // namespace

int32_t pacos_tokenizer_new(const uint8_t* strings, uint64_t size, uint32_t count, pacos_tokenizer** out,
                            int64_t* where) {
    return guarded([&]() -> int32_t {
        auto made = std::make_unique<pacos_tokenizer>();
        const int32_t failure = made->vocabulary.open(strings, size, count, where);
        if (failure == ok) *out = made.release();
        return failure;
    });
}

void pacos_tokenizer_free(pacos_tokenizer* t) { delete t; }

int32_t pacos_tokenizer_types(pacos_tokenizer* t, const int32_t* types) {
    return guarded([&]() -> int32_t {
        t->vocabulary.set_types(types);
        return ok;
    });
}

int32_t pacos_tokenizer_bpe(pacos_tokenizer* t, const uint8_t* merges, uint64_t size, uint32_t count, uint32_t flags,
                            int64_t* where) {
    return guarded([&]() -> int32_t {
        BpeRules rules;
        rules.byte_level = flags & PACOS_BPE_BYTE_LEVEL;
        rules.whole_words = flags & PACOS_BPE_WHOLE_WORDS;
        rules.escape_spaces = flags & PACOS_BPE_ESCAPE_SPACES;
        rules.newline_pieces = flags & PACOS_BPE_NEWLINE_PIECES;
        rules.drop_spaces = flags & PACOS_BPE_DROP_SPACES;
        rules.lower = flags & PACOS_BPE_LOWER;
        auto made = std::make_unique<Bpe>(t->vocabulary, rules);
        const int32_t failure = made->open(merges, size, count, where);
        if (failure != ok) return failure;
        t->bpe = made.get();
        t->encoder = std::move(made);
        return ok;
    });
}

int32_t pacos_tokenizer_splitter(pacos_tokenizer* t, const char* expression, char* message, uint64_t capacity) {
    return guarded([&]() -> int32_t {
        if (!t->bpe) return bad_argument;
        try {
            t->bpe->splitter().add(expression);
        } catch (const std::invalid_argument& error) {
            if (capacity > 0) {
                std::strncpy(message, error.what(), static_cast<size_t>(capacity - 1));
                message[capacity - 1] = '\0';
            }
            return bad_expression;
        }
        return ok;
    });
}

int32_t pacos_tokenizer_sentencepiece(pacos_tokenizer* t, const float* scores, int32_t add_space, int32_t unknown_id) {
    return guarded([&]() -> int32_t {
        if (unknown_id != none && !is_id(t, unknown_id)) return bad_argument;
        SentencePieceRules rules;
        rules.add_space = add_space != 0;
        rules.unknown = unknown_id;
        return use(t, std::make_unique<SentencePiece>(t->vocabulary, rules, scores));
    });
}

int32_t pacos_tokenizer_wordpiece(pacos_tokenizer* t, uint32_t flags, int32_t unknown_id) {
    return guarded([&]() -> int32_t {
        if (unknown_id != none && !is_id(t, unknown_id)) return bad_argument;
        WordPieceRules rules;
        rules.lower = flags & PACOS_WORDPIECE_LOWER;
        rules.strip_marks = flags & PACOS_WORDPIECE_STRIP_MARKS;
        rules.unknown = unknown_id;
        return use(t, std::make_unique<WordPiece>(t->vocabulary, rules));
    });
}

int32_t pacos_tokenizer_unigram(pacos_tokenizer* t, const float* scores, const uint8_t* charsmap, uint64_t size,
                                uint32_t flags, int32_t unknown_id) {
    return guarded([&]() -> int32_t {
        if (unknown_id != none && !is_id(t, unknown_id)) return bad_argument;
        UnigramRules rules;
        rules.add_space = flags & PACOS_UNIGRAM_ADD_SPACE;
        rules.merge_spaces = flags & PACOS_UNIGRAM_MERGE_SPACES;
        rules.unknown = unknown_id;
        auto made = std::make_unique<Unigram>(t->vocabulary, rules, scores);
        if (!made->open({reinterpret_cast<const char*>(charsmap), static_cast<size_t>(size)})) return bad_charsmap;
        return use(t, std::move(made));
    });
}

int32_t pacos_tokenizer_rwkv(pacos_tokenizer* t, int32_t unknown_id) {
    return guarded([&]() -> int32_t {
        if (unknown_id != none && !is_id(t, unknown_id)) return bad_argument;
        return use(t, std::make_unique<Rwkv>(t->vocabulary, unknown_id));
    });
}

int32_t pacos_tokenizer_plamo2(pacos_tokenizer* t, const float* scores) {
    return guarded([&]() -> int32_t { return use(t, std::make_unique<Plamo2>(t->vocabulary, scores)); });
}

int32_t pacos_tokenizer_special(pacos_tokenizer* t, int32_t id, uint32_t flags) {
    return guarded([&]() -> int32_t {
        if (!is_id(t, id)) return bad_argument;
        t->specials.add(t->vocabulary.text(static_cast<uint32_t>(id)), id, static_cast<uint8_t>(flags));
        return ok;
    });
}

int32_t pacos_tokenizer_find(const pacos_tokenizer* t, const char* text, uint64_t size) {
    return t->vocabulary.find({text, static_cast<size_t>(size)});
}

int64_t pacos_tokenizer_of_type(const pacos_tokenizer* t, int32_t type, int32_t* out, uint64_t capacity) {
    uint64_t found = 0;
    for (uint32_t id = 0; id < t->vocabulary.size(); ++id) {
        if (t->vocabulary.type(id) != type) continue;
        if (found < capacity) out[found] = static_cast<int32_t>(id);
        ++found;
    }
    return static_cast<int64_t>(found);
}

int64_t pacos_tokenizer_text(const pacos_tokenizer* t, int32_t id, uint8_t* out, uint64_t capacity) {
    return guarded([&]() -> int64_t {
        if (!is_id(t, id)) return bad_argument;
        return give(std::string(t->vocabulary.text(static_cast<uint32_t>(id))), out, capacity);
    });
}

int64_t pacos_tokenizer_pieces(const pacos_tokenizer* t, const int32_t* ids, uint64_t count, int32_t special,
                               uint8_t* out, uint64_t capacity) {
    return guarded([&]() -> int64_t {
        std::string text;
        for (uint64_t i = 0; i < count; ++i) {
            if (!is_id(t, ids[i])) return bad_argument;
            append_piece(*t, static_cast<uint32_t>(ids[i]), special != 0, text);
        }
        return give(text, out, capacity);
    });
}

int64_t pacos_tokenizer_encode(const pacos_tokenizer* t, const uint8_t* text, uint64_t size, const uint64_t* markup,
                               uint64_t spans, int32_t* out, uint64_t capacity) {
    return guarded([&]() -> int64_t {
        if (!t->encoder || size > max_text_bytes) return bad_argument;
        const std::string_view whole(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
        std::vector<Span> allowed;
        for (uint64_t i = 0; i < spans; ++i) allowed.push_back({markup[2 * i], markup[2 * i + 1]});
        std::vector<int32_t> ids;
        bool fresh = true;
        for (const Fragment& part : t->specials.split(whole, allowed)) {
            if (part.id == none) {
                t->encoder->encode(whole.substr(part.begin, part.end - part.begin), fresh, ids);
            } else {
                ids.push_back(part.id);
            }
            fresh = part.id != none;
        }
        if (ids.size() <= capacity && !ids.empty()) std::memcpy(out, ids.data(), ids.size() * sizeof(int32_t));
        return static_cast<int64_t>(ids.size());
    });
}

int64_t pacos_tokenizer_split(const pacos_tokenizer* t, const uint8_t* text, uint64_t size, uint32_t* ends,
                              uint64_t capacity) {
    return guarded([&]() -> int64_t {
        const std::string_view whole(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
        if (!t->bpe || size > max_text_bytes || !is_valid(whole)) return bad_argument;
        std::vector<uint32_t> found;
        t->bpe->splitter().split(whole, found);
        if (found.size() <= capacity && !found.empty()) std::memcpy(ends, found.data(), found.size() * sizeof(uint32_t));
        return static_cast<int64_t>(found.size());
    });
}
