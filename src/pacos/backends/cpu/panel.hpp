/* panel.hpp: 16 rows x 256 weights of any block format, unpacked into the one layout that the micro-kernels read.

   codes [k / 4][16 rows][4]: one line of 64 bytes holds four neighbouring weights of each of 16 rows, so that a
   line times four broadcast activations gives 16 sums that belong to 16 rows, without shuffles or horizontal sums.
   Biased codes are stored signed, without their bias, where the instruction set can multiply signed codes
   (kSignedCodes<F>); if it only multiplies them by unsigned activations (kShiftedActs<F>), the tiles take activations
   + 128 and subtract what that adds, which is the same for every column. Formats of 8-bit codes have pairs of s16
   instead, codes [k / 2][16 rows][2], where the instruction set multiplies u8 x s8 with 16-bit saturation (kWide<F>):
   they cost as many multiplications as two planes of nibbles would, but the sums need no repair, and the scales of
   sub-blocks are multiplied into the codes. */
#pragma once
#include "panel_kernels.hpp"
#include "vector.hpp"

namespace pacos::PACOS_ISA {

constexpr int kPanelRows = 16, kPanelWeights = 256;

/* All that the layout of a panel and the code of its tiles depend on. The instruction set rounds bias and top
   (kShapeBias, kShapeTop), so that formats which it multiplies alike have one shape. */
template <int block_, int sub_, int bias_, int top_, bool has_min_>
struct Shape {
  static constexpr int block = block_, sub = sub_, bias = bias_, top = top_;
  static constexpr bool has_min = has_min_;
};
template <class F>
constexpr int sub_of() {
  if constexpr (F::block == 256) return F::sub;
  else return 32;
}
template <class F>
using ShapeOf = Shape<F::block, sub_of<F>(), kShapeBias<F>, kShapeTop<F>, F::has_min>;

template <class F>
constexpr int kLines = kPanelWeights / (kWide<F> ? 2 : 4);
template <class F>
constexpr int kPreparedBytes = kPanelWeights * (kWide<F> ? 2 : kShiftedActs<F> ? 1 : 0);   // of a column
template <class F>
constexpr int kBias = kSignedCodes<F> ? 0 : F::bias;   // of the codes in the panel

template <class F>
struct Panel {
  alignas(64) uint8_t codes[kLines<F>][64];
  alignas(64) float d[kPanelWeights / F::block][16];   // scales of the blocks
  alignas(64) float m[F::has_min ? kPanelWeights / F::block : 1][16];
};

/* Of 256-weight formats also what belongs to sub-blocks. Panels are small: some of them share the first-level cache. */
template <class F>
  requires(F::block == 256 && !kWide<F>)
struct Panel<F> {
  alignas(64) uint8_t codes[kLines<F>][64];
  alignas(64) float d[1][16], m[1][16];
  alignas(64) int32_t scale[256 / F::sub][16];   // [sub-block][row], as panel_scale() of the instruction set wants it
  alignas(64) int32_t pairs[128 / F::sub][16];   // minimums (or the scales of biased codes) of two sub-blocks as two s16
  alignas(64) int32_t shift[kShiftedActs<F> ? 16 : 1];   // 128 times the sum of a row's scaled codes
};

/* 8 lines of 32 weights of 8 rows. An instruction set that multiplies matrices of eight neighbouring weights
   (kEightWeights) has them so: codes [k / 8][16 rows][8]. */
template <class F>
PACOS_INLINE void put_lines(Panel<ShapeOf<F>>& panel, int line, int half, I32x8 (&v)[8]) {
  if constexpr (kEightWeights) {
    for (int r = 0; r < 8; r++)
      for (int j = 0; j < 4; j++) store(panel.codes[line + 2 * j] + 64 * half + 8 * r, ((U64x4)v[r])[j]);
    return;
  }
  transpose8(v);
  for (int j = 0; j < 8; j++) store(panel.codes[line + j] + 32 * half, v[j]);
}

/* The same of pairs of s16, 16 lines. */
template <bool scaled>
static __attribute__((noinline)) void put_pairs(uint8_t (*lines)[64], int half, const I32x8 (&codes)[8], const int16_t (*scales)[16]) {
  for (int part = 0; part < 2; part++) {
    I32x8 v[8];
    for (int r = 0; r < 8; r++) {
      S16x16 wide = widen(load<S8x16>((const uint8_t*)&codes[r] + 16 * part));
      if constexpr (scaled) wide *= scales[r][part];
      v[r] = (I32x8)wide;
    }
    transpose8(v);
    for (int j = 0; j < 8; j++) store(lines[8 * part + j] + 32 * half, v[j]);
  }
}

template <class F, int i, class Opened>
PACOS_INLINE I32x8 panel_codes(const Opened& block) {
  if constexpr (kSignedCodes<F>) return (I32x8)signed_codes<F, i>(block);
  else return (I32x8)unsigned_codes<F, i>(block);
}

template <class F, int i, class Opened>
PACOS_INLINE void unpack_codes(Panel<ShapeOf<F>>& panel, const Opened (&rows)[16], const int16_t (&scales)[16][16]) {
#pragma GCC unroll 1
  for (int half = 0; half < 2; half++) {
    I32x8 v[8];
    for (int r = 0; r < 8; r++) v[r] = panel_codes<F, i>(rows[8 * half + r]);
    if constexpr (kWide<F>) put_pairs<true>(panel.codes + 16 * i, half, v, (const int16_t (*)[16])(scales[8 * half] + 2 * i));
    else put_lines<F>(panel, 8 * i, half, v);
  }
}

template <class F>
PACOS_INLINE void unpack_headers(Panel<ShapeOf<F>>& panel, const uint8_t* const (&rows)[16]) {
#pragma GCC unroll 1
  for (int half = 0; half < 2; half++) {
    I32x8 scales[8], mins[8];
    for (int r = 0; r < 8; r++) {
      const Header h = F::header(rows[8 * half + r]);
      panel.d[0][8 * half + r] = h.d;
      if constexpr (F::has_min) panel.m[0][8 * half + r] = h.dmin;
      scales[r] = (I32x8)h.scales;
      if constexpr (F::has_min) mins[r] = (I32x8)h.mins;
    }
    transpose8(scales);   // scales[j] = rows of (scale 2 j, scale 2 j + 1), equal ones where a sub-block has 32 weights
    if constexpr (F::has_min) transpose8(mins);
    for (int j = 0; j < 8; j++) {
      if constexpr (F::sub == 32) {
        store(panel.scale[j] + 8 * half, panel_scale_low(scales[j]));
        if (j % 2 == 0) {
          const auto& v = F::has_min ? mins : scales;
          store(panel.pairs[j / 2] + 8 * half, (v[j] & 0xffff) | v[j + 1] << 16);
        }
      } else {
        store(panel.scale[2 * j] + 8 * half, panel_scale_low(scales[j]));
        store(panel.scale[2 * j + 1] + 8 * half, panel_scale_high(scales[j]));
        store(panel.pairs[j] + 8 * half, F::has_min ? mins[j] : scales[j]);
      }
    }
  }
}

/* Whether 16 bytes of nibble pairs may be transposed while still packed: the panel holds them as they are. */
template <class F>
constexpr bool kNibbleLines = has_nibbles<F> && !kSignedCodes<F> && !kEightWeights;

/* 32 weights of 8 such rows. */
template <class F, class Address>
PACOS_INLINE void unpack_nibbles(Panel<ShapeOf<F>>& panel, int line, int half, Address address) {
  I32x8 v[4];
  for (int r = 0; r < 4; r++) v[r] = (I32x8)join(load<U8x16>(address(r)), load<U8x16>(address(r + 4)));
  transpose4(v);
  for (int j = 0; j < 4; j++) {
    store(panel.codes[line + j] + 32 * half, (U8x32)v[j] & splat(15));
    store(panel.codes[line + j + 4] + 32 * half, shift_right<4>((U8x32)v[j]) & splat(15));
  }
}

/* rows: the first of `blocks` blocks (or runs) of each row; blocks is 1 for 256-weight formats, up to 8 for the others. */
template <class F>
static void unpack(void* to, const uint8_t* const (&rows)[16], int blocks) {
  Panel<ShapeOf<F>>& panel = *(Panel<ShapeOf<F>>*)to;
  if constexpr (F::block == 256) {
    alignas(32) int16_t scales[16][16];   // of wide codes
    if constexpr (kWide<F>) {
      for (int r = 0; r < 16; r++) {
        const Header h = F::header(rows[r]);
        panel.d[0][r] = h.d;
        store(scales[r], h.scales);
      }
    } else {
      unpack_headers<F>(panel, rows);
    }
    decltype(opened<F>(rows[0])) open[16];
#pragma GCC unroll 1
    for (int r = 0; r < 16; r++) open[r] = opened<F>(rows[r]);
    repeat<8>([&]<int i>() PACOS_INLINED { unpack_codes<F, i>(panel, open, scales); });
    if constexpr (kShiftedActs<F>) find_shift(panel);
  } else {
    for (int b = 0; b < blocks; b += kRuns<F>)
#pragma GCC unroll 1
      for (int half = 0; half < 2; half++)
        repeat<kRuns<F>>([&]<int i>() PACOS_INLINED {
          const auto at = [&](int r) { return rows[8 * half + r] + block_offset<F>(b); };
          if constexpr (kNibbleLines<F>) {
            unpack_nibbles<F>(panel, 8 * (b + i), half, [&](int r) { return at(r) + F::nibbles_at; });
          } else {
            I32x8 v[8];
            for (int r = 0; r < 8; r++) v[r] = panel_codes<F, i>(at(r));
            if constexpr (kWide<F>) put_pairs<false>(panel.codes + 16 * (b + i), half, v, nullptr);
            else put_lines<F>(panel, 8 * (b + i), half, v);
          }
          if constexpr (has_halves<F>) {
            store(panel.d[b] + 8 * half, halves8<false>([&](int r) { return at(r) + F::scale_at; }));
            if constexpr (F::has_min) store(panel.m[b] + 8 * half, halves8<false>([&](int r) { return at(r) + F::min_at; }));
          } else {
            for (int r = 0; r < 8; r++) {
              panel.d[b + i][8 * half + r] = scale_of<F, i>(at(r));
              if constexpr (F::has_min) panel.m[b + i][8 * half + r] = F::minimum(at(r));
            }
          }
        });
  }
}

}  // namespace pacos::PACOS_ISA
