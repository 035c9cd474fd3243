// RWKV's tokenizer: the longest piece that the text begins with, again and again. Pieces are written with escapes.
#pragma once
#include <string>

#include "encoder.hpp"
#include "trie.hpp"

namespace pacos::text {

class Rwkv : public Encoder {
  public:
    // unknown: for a byte that no piece begins with, or none.
    Rwkv(const Vocabulary& vocabulary, int32_t unknown);
    void encode(std::string_view text, bool fresh, std::vector<int32_t>& out) const override;
    Spelling spelling() const override { return escaped; }

  private:
    Trie pieces_;
    int32_t unknown_;
};

// Append the bytes that a piece stands for: \t \n \r \xHH, and any other character after a backslash as it is.
void append_unescaped(std::string& out, std::string_view text);

}  // namespace pacos::text
