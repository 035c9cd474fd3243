// What goes wrong while a tokenizer is opened; vocabulary.py turns each code into a sentence.
#pragma once
#include <cstdint>

namespace pacos::text {

enum Failure : int32_t {
    ok = 0,
    out_of_memory = -1,
    bad_strings = -2,
    piece_too_long = -3,
    merge_without_space = -4,
    merge_with_two_spaces = -5,
    merge_of_unknown_pieces = -6,
    bad_expression = -7,
    bad_argument = -8,
    bad_charsmap = -9,
};

}  // namespace pacos::text
