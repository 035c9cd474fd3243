// One arena for the text, one open-addressing table for the way back.
#include "vocabulary.hpp"

#include <chrono>
#include <cstring>

#include "failures.hpp"

namespace pacos::text {
namespace {

uint64_t load_le(const uint8_t* at) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; --i) value = value << 8 | at[i];
    return value;
}

// Different in every process, so that no file can be made whose pieces all meet in one slot.
uint64_t fresh_seed() {
    const auto now = static_cast<uint64_t>(std::chrono::high_resolution_clock::now().time_since_epoch().count());
    int local = 0;
    return (now ^ static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&local)) << 17) * 0x9E3779B97F4A7C15u;
}

}  // namespace

void will_read(const void* address) {
#if defined(__GNUC__)
    __builtin_prefetch(address);
#else
    (void)address;
#endif
}

uint64_t hash_of(const char* text, size_t size, uint64_t seed) {
    constexpr uint64_t k = 0x9FB21C651E98DF25u;
    uint64_t h = seed ^ size * 0x9E3779B97F4A7C15u;
    while (size >= 8) {
        uint64_t word;
        std::memcpy(&word, text, 8);
        h = (h ^ word) * k;
        h ^= h >> 29;
        text += 8, size -= 8;
    }
    uint64_t word = 0;
    if (size > 0) std::memcpy(&word, text, size);
    h = (h ^ word) * k;
    h ^= h >> 32;
    h *= k;
    return h ^ h >> 29;
}

bool Strings::next(std::string_view& out) {
    if (left_ < 8) return false;
    const uint64_t size = load_le(at_);
    if (size > left_ - 8) return false;
    out = {reinterpret_cast<const char*>(at_ + 8), static_cast<size_t>(size)};
    at_ += 8 + size;
    left_ -= 8 + size;
    return true;
}

int32_t Vocabulary::open(const uint8_t* strings, uint64_t size, uint32_t count, int64_t* where) {
    if (size > UINT32_MAX || count == 0) return bad_strings;
    seed_ = fresh_seed();
    arena_.reserve(static_cast<size_t>(size));
    ends_.reserve(count);
    Strings source(strings, size);
    std::string_view piece;
    for (uint32_t id = 0; id < count; ++id) {
        *where = id;
        if (!source.next(piece)) return bad_strings;
        if (piece.size() > max_piece_bytes) return piece_too_long;
        arena_.append(piece);
        ends_.push_back(static_cast<uint32_t>(arena_.size()));
        if (piece.size() > longest_) longest_ = piece.size();
    }
    if (!source.done()) return bad_strings;

    uint64_t capacity = 64;
    while (capacity < count + count / 2) capacity *= 2;
    mask_ = capacity - 1;
    slots_.assign(static_cast<size_t>(capacity), {0, 0});
    constexpr uint32_t batch = 32;
    uint64_t hashes[batch];
    for (uint32_t first = 0; first < count; first += batch) {
        const uint32_t n = count - first < batch ? count - first : batch;
        for (uint32_t i = 0; i < n; ++i) {
            hashes[i] = hash(text(first + i));
            prefetch(hashes[i]);
        }
        for (uint32_t i = 0; i < n; ++i) {
            const std::string_view word = text(first + i);
            const auto tag = static_cast<uint32_t>(hashes[i] >> 32);
            uint64_t at = hashes[i] & mask_;
            while (slots_[at].id_plus_one && (slots_[at].tag != tag || text(slots_[at].id_plus_one - 1) != word)) {
                at = (at + 1) & mask_;
            }
            if (!slots_[at].id_plus_one) slots_[at] = {tag, first + i + 1};
        }
    }
    return ok;
}

void Vocabulary::set_types(const int32_t* types) {
    types_.resize(size());
    for (uint32_t id = 0; id < size(); ++id) {
        types_[id] = types[id] >= normal && types[id] <= byte ? static_cast<Type>(types[id]) : undefined;
    }
}

void Vocabulary::prefetch(uint64_t hash) const { will_read(&slots_[hash & mask_]); }

void Vocabulary::prefetch_place(uint64_t hash) const {
    const uint32_t id = slots_[hash & mask_].id_plus_one;
    if (id > 1) will_read(&ends_[id - 2]);
}

void Vocabulary::prefetch_text(uint64_t hash) const {
    const uint32_t id = slots_[hash & mask_].id_plus_one;
    if (id > 1) will_read(arena_.data() + ends_[id - 2]);
}

int32_t Vocabulary::find_hashed(std::string_view word, uint64_t hash) const {
    const auto tag = static_cast<uint32_t>(hash >> 32);
    for (uint64_t at = hash & mask_; slots_[at].id_plus_one; at = (at + 1) & mask_) {
        const uint32_t id = slots_[at].id_plus_one - 1;
        if (slots_[at].tag == tag && text(id) == word) return static_cast<int32_t>(id);
    }
    return none;
}

void Vocabulary::find_bytes(int32_t* ids) const {
    constexpr char digits[] = "0123456789ABCDEF";
    for (int b = 0; b < 256; ++b) {
        const char name[] = {'<', '0', 'x', digits[b >> 4], digits[b & 15], '>'};
        ids[b] = find({name, sizeof name});
    }
}

}  // namespace pacos::text
