// PLaMo 2's tokenizer: the pieces whose rounded scores add up to the most, found from the end; bytes for the rest.
#pragma once
#include "encoder.hpp"
#include "trie.hpp"

namespace pacos::text {

class Plamo2 : public Encoder {
  public:
    // scores: one for each piece.
    Plamo2(const Vocabulary& vocabulary, const float* scores);
    void encode(std::string_view text, bool fresh, std::vector<int32_t>& out) const override;
    Spelling spelling() const override { return plain; }

  private:
    Trie pieces_;
    std::vector<int32_t> scores_;  // in ten-thousandths
    int32_t byte_ids_[256];
};

}  // namespace pacos::text
