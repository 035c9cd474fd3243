/* pieces.hpp: columns are spread evenly over as few pieces as possible: 13 over pieces of up to 12 is 7 + 6. */
#pragma once
#include "kernels.hpp"
#include "vector.hpp"

namespace pacos::PACOS_ISA {

constexpr int kBatchColumns = 512;  // columns whose float accumulators are kept at a time

PACOS_INLINE int pieces_of(int64_t columns, int most) { return (int)((columns + most - 1) / most); }

PACOS_INLINE int piece_start(int piece, int pieces, int64_t columns) { return (int)(piece * columns / pieces); }

template <class Piece>
PACOS_INLINE void in_pieces(int64_t columns, int most, const Piece& piece) {
  const int pieces = pieces_of(columns, most);
  for (int i = 0; i < pieces; i++) {
    const int start = piece_start(i, pieces, columns);
    piece(start, piece_start(i + 1, pieces, columns) - start);
  }
}

}  // namespace pacos::PACOS_ISA
