// SentencePiece's BPE: pieces merge by score, what is left over falls back to bytes.
#pragma once
#include "encoder.hpp"

namespace pacos::text {

struct SentencePieceRules {
    bool add_space = true;  // a space before text that starts fresh
    int32_t unknown = none;
};

class SentencePiece : public Encoder {
  public:
    // scores: one for each piece, or null for all zero.
    SentencePiece(const Vocabulary& vocabulary, const SentencePieceRules& rules, const float* scores);
    void encode(std::string_view text, bool fresh, std::vector<int32_t>& out) const override;
    Spelling spelling() const override { return meta_space; }

  private:
    struct Workspace;
    struct Pair {
        int32_t id;
        float score;
    };
    bool joins(uint8_t left, uint8_t right) const {
        const uint32_t bit = static_cast<uint32_t>(left) << 8 | right;
        return inside_[bit >> 6] >> (bit & 63) & 1;
    }
    Pair pair(std::string_view text) const {
        const int32_t id = vocabulary_.find_text(text);
        return {id, id == none || scores_.empty() ? 0.0f : scores_[static_cast<size_t>(id)]};
    }
    void segment(std::string_view text, Workspace& work, std::vector<int32_t>& out) const;
    void merge_short(std::string_view text, Workspace& work) const;
    void merge_long(std::string_view text, Workspace& work) const;
    void emit(std::string_view symbol, std::vector<int32_t>& out) const;

    const Vocabulary& vocabulary_;
    SentencePieceRules rules_;
    std::vector<float> scores_;
    // Which two bytes ever stand side by side inside a piece. Where they do not, no merge can cross, and text
    // may be cut there before merging without changing the result.
    std::vector<uint64_t> inside_;
    int32_t byte_ids_[256];
};

}  // namespace pacos::text
