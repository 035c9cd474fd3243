// The pieces of a vocabulary in one arena, found by id or by text.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pacos::text {

// GGUF's token types.
enum Type : uint8_t { undefined = 0, normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

constexpr int32_t none = -1;
constexpr uint64_t max_piece_bytes = 65536;

uint64_t hash_of(const char* text, size_t size, uint64_t seed);

// A GGUF string array as it lies in the file: a 64-bit little-endian length and the bytes, repeated.
class Strings {
  public:
    Strings(const uint8_t* at, uint64_t size) : at_(at), left_(size) {}
    // False when the bytes end first.
    bool next(std::string_view& out);
    bool done() const { return left_ == 0; }

  private:
    const uint8_t* at_;
    uint64_t left_;
};

void will_read(const void* address);

class Vocabulary {
  public:
    // 0, or the error with `where` the piece: see tokenizer.cpp for the codes.
    int32_t open(const uint8_t* strings, uint64_t size, uint32_t count, int64_t* where);

    uint32_t size() const { return static_cast<uint32_t>(ends_.size()); }
    std::string_view text(uint32_t id) const {
        const uint32_t begin = id == 0 ? 0 : ends_[id - 1];
        return {arena_.data() + begin, ends_[id] - begin};
    }
    Type type(uint32_t id) const { return types_.empty() ? normal : types_[id]; }
    void set_types(const int32_t* types);

    // The id of this text, the lowest when several pieces have it; or none.
    int32_t find(std::string_view text) const { return find_hashed(text, hash(text)); }
    // The same, but never a token that only the model's own markup may stand for.
    int32_t find_text(std::string_view text) const {
        const int32_t id = text.size() > longest_ ? none : find(text);
        return id == none || is_text(static_cast<uint32_t>(id)) ? id : none;
    }
    bool is_text(uint32_t id) const {
        const Type t = type(id);
        return t != control && t != unknown && t != byte;
    }
    // The token <0xXX> for each byte, or none.
    void find_bytes(int32_t* ids) const;

    uint64_t hash(std::string_view text) const { return hash_of(text.data(), text.size(), seed_); }
    // Fetch into the cache what finding a piece will read, one hop at a time: the slot, the place of its text, the text.
    void prefetch(uint64_t hash) const;
    void prefetch_place(uint64_t hash) const;
    void prefetch_text(uint64_t hash) const;
    int32_t find_hashed(std::string_view text, uint64_t hash) const;

  private:
    struct Slot {
        uint32_t tag, id_plus_one;
    };
    std::string arena_;
    std::vector<uint32_t> ends_;
    std::vector<Type> types_;
    std::vector<Slot> slots_;
    uint64_t seed_ = 0, mask_ = 0;
    size_t longest_ = 0;
};

}  // namespace pacos::text
