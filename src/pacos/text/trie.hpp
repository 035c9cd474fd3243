// A set of pieces in a double array: from one place in a text, every piece that stands there.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace pacos::text {

class Trie {
  public:
    struct Entry {
        std::string_view text;
        int32_t id;
    };
    // Build from pieces in any order; of equal ones the lowest id counts, empty ones do not. The text is copied.
    void build(std::vector<Entry> entries);

    // Call found(size, id) for each piece that `text` begins with, shortest first.
    template <class Found>
    void prefixes(std::string_view text, const Found& found) const {
        if (units_.empty()) return;
        uint32_t at = 0;
        for (size_t size = 0;; ++size) {
            const uint32_t value = units_[at].value;
            if (value & leaf) {
                const Tail& tail = tails_[value & ~leaf];
                const std::string_view rest = {tail_text_.data() + tail.begin, tail.size};
                if (text.substr(size, rest.size()) == rest) found(size + rest.size(), tail.id);
                return;
            }
            if (value & inner) found(size, ids_[at]);
            if (size == text.size()) return;
            const uint32_t next = (value & ~inner) ^ static_cast<uint8_t>(text[size]);
            if (units_[next].parent != at) return;
            at = next;
        }
    }

  private:
    struct Unit {
        uint32_t parent, value;  // value: where the children begin, or with `leaf` the tail's number
    };
    struct Tail {
        uint32_t begin, size;  // what is left of the text of the only piece below
        int32_t id;
    };
    struct Builder;
    static constexpr uint32_t leaf = 1u << 31, inner = 1u << 30;  // inner: a piece ends here and others go on
    static constexpr uint32_t nobody = UINT32_MAX;

    std::vector<Unit> units_;
    std::vector<int32_t> ids_;
    std::vector<Tail> tails_;
    std::string tail_text_;
};

}  // namespace pacos::text
