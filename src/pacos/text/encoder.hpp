// What turns plain text into ids: one class per kind of tokenizer, each in its own file.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "vocabulary.hpp"

namespace pacos::text {

// How the text of normal pieces stands for bytes.
enum Spelling : uint8_t { plain = 0, byte_alphabet = 1, meta_space = 2, escaped = 3 };

class Encoder {
  public:
    virtual ~Encoder() = default;
    // Append the ids of `text`, which holds no special token. `fresh`: nothing or a special token stands before it.
    virtual void encode(std::string_view text, bool fresh, std::vector<int32_t>& out) const = 0;
    virtual Spelling spelling() const = 0;
};

}  // namespace pacos::text
