/* unpack.cpp: weights that other programs have packed, to floats or to blocks of GGUF that hold the same numbers.

   Shapes: N rows (outputs), D columns (inputs), G groups of columns. Codes of a tile of rows and columns are spread to
   bytes first, so that every cache line of the file is read once whichever way its words run. */
#include "native/pacos.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace {

enum : int32_t { kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ5_0 = 6, kQ8_0 = 8, kBf16 = 30 };

constexpr int64_t kRows = 64, kColumns = 256, kBlock = 32;

/* ---- floats ---- */

template <class T>
T load(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

uint32_t bits_of(float x) { return load<uint32_t>(reinterpret_cast<const uint8_t*>(&x)); }

/* To nearest, ties to even. All three ways are gone, so that a loop of it needs no branches. */
uint16_t to_half(float x) {
  const uint32_t bits = bits_of(x), size = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
  float magnitude;
  std::memcpy(&magnitude, &size, 4);
  const uint32_t small = bits_of(magnitude + 0.5f) - 0x3f000000;  // the sum's last bit counts 2^-24
  const uint32_t normal = (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13;
  const uint32_t large = size > 0x7f800000 ? 0x7e00 : 0x7c00;
  return static_cast<uint16_t>(sign | (size < 0x38800000 ? small : size < 0x47800000 ? normal : large));
}

uint16_t to_bf16(float x) {  // to nearest, ties to even; NaN stays one
  const uint32_t bits = bits_of(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 64);
  return static_cast<uint16_t>((bits + (bits >> 16 & 1) + 0x7fff) >> 16);
}

struct F32 {
  using Cell = float;
  static Cell of(float x) { return x; }
};
struct F16 {
  using Cell = uint16_t;
  static Cell of(float x) { return to_half(x); }
};
struct Bf16 {
  using Cell = uint16_t;
  static Cell of(float x) { return to_bf16(x); }
};

/* ---- codes to bytes ---- */

/* Nibbles 0 to 7 of a word to bytes 0 to 7. */
uint64_t nibbles(uint32_t word) {
  uint64_t x = word;
  x = (x | x << 16) & 0x0000ffff0000ffff;
  x = (x | x << 8) & 0x00ff00ff00ff00ff;
  return (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
}

/* Nibbles of a word of AWQ's, which stand for columns 0 2 4 6 1 3 5 7, to the bytes of these columns. */
uint64_t mixed_nibbles(uint32_t word) {
  const auto apart = [](uint64_t x) {
    x = (x | x << 24) & 0x000000ff000000ff;
    return (x | x << 12) & 0x000f000f000f000f;
  };
  return apart(word & 0xffff) | apart(word >> 16) << 8;
}

/* 32 numbers that follow each other without gaps, low bits first. words [bits + 1], the last one of any value. */
void spread(int bits, const uint32_t* words, uint8_t* to) {
  if (bits == 4) {
    for (int i = 0; i < 4; i++) {
      const uint64_t eight = nibbles(words[i]);
      std::memcpy(to + 8 * i, &eight, 8);
    }
  } else if (bits == 8) {
    std::memcpy(to, words, kBlock);
  } else {
    for (int i = 0; i < kBlock; i++) {
      const int at = i * bits, word = at / 32;
      const uint64_t two = words[word] | static_cast<uint64_t>(words[word + 1]) << 32;
      to[i] = static_cast<uint8_t>(two >> at % 32 & ((1u << bits) - 1));
    }
  }
}

struct Tile {
  int64_t row, rows, column, columns;
  uint8_t codes[kRows][kColumns];
};

/* Words of 32 bits, `step` bytes from one to the next of a row, rows `apart` bytes from each other. */
void words_to(const pacos_codes& from, Tile& tile, int64_t step, int64_t apart) {
  for (int64_t c = 0; c < tile.columns; c += kBlock) {
    const int64_t first = (tile.column + c) / kBlock * from.bits;
    const int64_t count = std::min<int64_t>(from.bits, from.words - first);
    for (int64_t r = 0; r < tile.rows; r++) {
      const uint8_t* at = from.packed + first * step + (tile.row + r) * apart;
      uint32_t words[9] = {};
      for (int64_t i = 0; i < count; i++) words[i] = load<uint32_t>(at + i * step);
      spread(from.bits, words, tile.codes[r] + c);
    }
  }
}

void spaced_to(const pacos_codes& from, Tile& tile) {
  const int64_t each = 32 / from.bits;
  for (int64_t r = 0; r < tile.rows; r++)
    for (int64_t c = 0; c < tile.columns; c++) {
      const int64_t column = tile.column + c, word = (tile.row + r) * from.words + column / each;
      const uint32_t found = load<uint32_t>(from.packed + 4 * word) >> column % each * from.bits;
      tile.codes[r][c] = static_cast<uint8_t>(found & ((1u << from.bits) - 1));
    }
}

/* Byte j of line i becomes byte i of line j. */
void transpose(uint64_t (&x)[8]) {
  const auto swap = [&x](int i, int j, int shift, uint64_t mask) {
    const uint64_t both = (x[i] >> shift ^ x[j]) & mask;
    x[i] ^= both << shift;
    x[j] ^= both;
  };
  for (int i = 0; i < 4; i++) swap(i, i + 4, 32, 0x00000000ffffffff);
  for (const int i : {0, 1, 4, 5}) swap(i, i + 2, 16, 0x0000ffff0000ffff);
  for (int i = 0; i < 8; i += 2) swap(i, i + 1, 8, 0x00ff00ff00ff00ff);
}

/* Words along the rows: [D][N / 8]. The tile begins at a whole word. */
void mixed_to(const pacos_codes& from, Tile& tile) {
  const int64_t line = from.rows / 2;
  for (int64_t c = 0; c < tile.columns; c += 8)
    for (int64_t r = 0; r < tile.rows; r += 8) {
      uint64_t square[8] = {};
      for (int64_t i = 0; i < std::min<int64_t>(8, tile.columns - c); i++)
        square[i] = mixed_nibbles(load<uint32_t>(from.packed + (tile.column + c + i) * line + (tile.row + r) / 2));
      transpose(square);
      for (int64_t i = 0; i < 8; i++) std::memcpy(tile.codes[r + i] + c, &square[i], 8);
    }
}

void bytes_to(const pacos_codes& from, Tile& tile) {
  for (int64_t r = 0; r < tile.rows; r++) {
    const uint8_t* at = from.packed + (tile.row + r) * from.columns + tile.column;
    for (int64_t c = 0; c < tile.columns; c++) tile.codes[r][c] = at[c] ^ 0x80;
  }
}

void fill(const pacos_codes& from, Tile& tile) {
  switch (from.layout) {
    case PACOS_CODES_DOWN: return words_to(from, tile, 4 * from.rows, 4);
    case PACOS_CODES_ALONG: return words_to(from, tile, 4, 4 * from.words);
    case PACOS_CODES_SPACED: return spaced_to(from, tile);
    case PACOS_CODES_MIXED: return mixed_to(from, tile);
    default: return bytes_to(from, tile);
  }
}

/* ---- bytes to blocks ---- */

void block_of(int32_t type, const uint8_t* codes, int centre, uint16_t scale, uint8_t* to) {
  std::memcpy(to, &scale, 2);
  to += 2;
  const uint8_t raise = static_cast<uint8_t>((type == kQ4_0 ? 8 : type == kQ5_0 ? 16 : 0) - centre);
  uint8_t raised[kBlock];
  for (int i = 0; i < kBlock; i++) raised[i] = static_cast<uint8_t>(codes[i] + raise);
  if (type == kQ8_0) {
    std::memcpy(to, raised, kBlock);
    return;
  }
  if (type == kQ5_0) {
    for (int i = 0; i < 4; i++)  // bit 4 of eight bytes, gathered at the top
      to[i] = static_cast<uint8_t>((load<uint64_t>(raised + 8 * i) >> 4 & 0x0101010101010101) * 0x0102040810204080 >> 56);
    to += 4;
  }
  for (int i = 0; i < kBlock / 2; i++) to[i] = static_cast<uint8_t>((raised[i] & 15) | raised[i + kBlock / 2] << 4);
}

void blocks_of(const pacos_codes& from, const Tile& tile, int32_t type, int64_t begin, uint8_t* out) {
  const int64_t size = type == kQ8_0 ? 34 : type == kQ5_0 ? 22 : 18, row_bytes = from.columns / kBlock * size;
  for (int64_t r = 0; r < tile.rows; r++) {
    uint8_t* to = out + (tile.row + r - begin) * row_bytes + tile.column / kBlock * size;
    for (int64_t c = 0; c < tile.columns; c += kBlock, to += size) {
      const int64_t at = (tile.row + r) * from.groups + (tile.column + c) / from.run;
      block_of(type, tile.codes[r] + c, from.centres[at], to_half(from.steps[at]), to);
    }
  }
}

/* ---- bytes to floats ---- */

/* Cells of all codes of a group stand in a table where there are fewer codes than columns that share it. */
template <class Kind>
class Tables {
 public:
  using Cell = typename Kind::Cell;

  explicit Tables(const pacos_codes& from)
      : from_(from), width_(from.bits <= 4 && from.groups << from.bits <= from.columns ? 1 << from.bits : 0) {
    if (width_ > 0) cells_ = new (std::nothrow) Cell[static_cast<size_t>(kRows * from.groups * width_)];
  }
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;
  ~Tables() { delete[] cells_; }

  bool failed() const { return width_ > 0 && cells_ == nullptr; }

  void begin(int64_t row, int64_t rows) {
    for (int64_t at = 0; width_ > 0 && at < rows * from_.groups; at++)
      for (int code = 0; code < width_; code++) cells_[at * width_ + code] = value(row * from_.groups + at, code);
  }

  void put(const Tile& tile, int64_t begin, Cell* out) const {
    for (int64_t r = 0; r < tile.rows; r++) {
      Cell* to = out + (tile.row + r - begin) * from_.columns + tile.column;
      const uint8_t* codes = tile.codes[r];
      const int64_t own = (tile.row + r) * from_.groups;
      const Cell* table = cells_ + r * from_.groups * width_;
      if (from_.group_of != nullptr) {
        const int32_t* group_of = from_.group_of + tile.column;
        for (int64_t c = 0; c < tile.columns; c++)
          to[c] = width_ > 0 ? table[group_of[c] * width_ + codes[c]] : value(own + group_of[c], codes[c]);
        continue;
      }
      for (int64_t c = 0, next; c < tile.columns; c = next) {
        const int64_t group = (tile.column + c) / from_.run;
        next = std::min(tile.columns, (group + 1) * from_.run - tile.column);
        run(codes + c, next - c, table + group * width_, own + group, to + c);
      }
    }
  }

 private:
  void run(const uint8_t* codes, int64_t count, const Cell* table, int64_t at, Cell* to) const {
    const int centre = from_.centres[at];
    const float step = from_.steps[at];
    if (width_ > 0)
      for (int64_t i = 0; i < count; i++) to[i] = table[codes[i]];
    else
      for (int64_t i = 0; i < count; i++) to[i] = Kind::of(static_cast<float>(codes[i] - centre) * step);
  }

  Cell value(int64_t at, int code) const {
    return Kind::of(static_cast<float>(code - from_.centres[at]) * from_.steps[at]);
  }

  const pacos_codes& from_;
  int width_;
  Cell* cells_ = nullptr;
};

template <class Rows, class Put>
int32_t tiles(const pacos_codes& from, int64_t begin, int64_t end, Rows&& rows, Put&& put) {
  Tile* tile = new (std::nothrow) Tile;
  if (tile == nullptr) return -2;
  for (tile->row = begin; tile->row < end; tile->row += tile->rows) {
    tile->rows = std::min(kRows, end - tile->row);
    rows(tile->row, tile->rows);
    for (tile->column = 0; tile->column < from.columns; tile->column += kColumns) {
      tile->columns = std::min(kColumns, from.columns - tile->column);
      fill(from, *tile);
      put(*tile);
    }
  }
  delete tile;
  return 0;
}

template <class Kind>
int32_t floats_of(const pacos_codes& from, int64_t begin, int64_t end, void* out) {
  Tables<Kind> tables(from);
  if (tables.failed()) return -2;
  return tiles(
      from, begin, end, [&](int64_t row, int64_t rows) { tables.begin(row, rows); },
      [&](const Tile& tile) { tables.put(tile, begin, static_cast<typename Kind::Cell*>(out)); });
}

/* ---- eight-bit floats ---- */

template <class Kind>
void eights_of(const pacos_eights& from, int64_t begin, int64_t end, typename Kind::Cell* out) {
  typename Kind::Cell table[256];
  const int64_t bands = (from.matrix_rows + from.tile_rows - 1) / from.tile_rows;
  const int64_t across = (from.columns + from.tile_columns - 1) / from.tile_columns;
  for (int64_t row = begin, next; row < end; row = next) {
    const int64_t within = row % from.matrix_rows, band = row / from.matrix_rows * bands + within / from.tile_rows;
    const int64_t left = std::min(from.tile_rows - within % from.tile_rows, from.matrix_rows - within);
    next = std::min(end, row + left);
    for (int64_t t = 0; t < across; t++) {
      const float scale = from.scales[band * across + t];
      for (int byte = 0; byte < 256; byte++) table[byte] = Kind::of(from.values[byte] * scale);
      const int64_t first = t * from.tile_columns, last = std::min(from.columns, first + from.tile_columns);
      for (int64_t r = row; r < next; r++) {
        const uint8_t* raw = from.raw + r * from.columns;
        typename Kind::Cell* to = out + (r - begin) * from.columns;
        for (int64_t c = first; c < last; c++) to[c] = table[raw[c]];
      }
    }
  }
}

}  // namespace

extern "C" int32_t pacos_unpack_codes(const pacos_codes* from, int32_t type, int64_t begin, int64_t end, void* out) {
  const bool mixed = from->layout == PACOS_CODES_MIXED;
  if (from->bits < 2 || from->bits > 8 || from->columns < 1 || from->run < 1 || begin < 0 || end > from->rows) return -1;
  if (mixed && (begin % 8 != 0 || end % 8 != 0)) return -1;
  if (type == kF32) return floats_of<F32>(*from, begin, end, out);
  if (type == kF16) return floats_of<F16>(*from, begin, end, out);
  if (type == kBf16) return floats_of<Bf16>(*from, begin, end, out);
  const bool blocks = type == kQ4_0 || type == kQ5_0 || type == kQ8_0;
  if (!blocks || from->group_of != nullptr || from->run % kBlock != 0 || from->columns % kBlock != 0) return -1;
  return tiles(
      *from, begin, end, [](int64_t, int64_t) {},
      [&](const Tile& tile) { blocks_of(*from, tile, type, begin, static_cast<uint8_t*>(out)); });
}

extern "C" int32_t pacos_unpack_eights(const pacos_eights* from, int32_t type, int64_t begin, int64_t end, void* out) {
  if (from->columns < 1 || from->matrix_rows < 1 || from->tile_rows < 1 || from->tile_columns < 1) return -1;
  if (type == kF32) eights_of<F32>(*from, begin, end, static_cast<float*>(out));
  else if (type == kF16) eights_of<F16>(*from, begin, end, static_cast<uint16_t*>(out));
  else if (type == kBf16) eights_of<Bf16>(*from, begin, end, static_cast<uint16_t*>(out));
  else return -1;
  return 0;
}

extern "C" void pacos_unpack_fours(const uint8_t* codes, const uint8_t* exponents, int64_t blocks, uint8_t* out) {
  for (int64_t b = 0; b < blocks; b++, codes += 16, out += 17) {
    uint8_t apart[kBlock];
    for (int i = 0; i < 4; i++) {
      const uint64_t eight = nibbles(load<uint32_t>(codes + 4 * i));
      std::memcpy(apart + 8 * i, &eight, 8);
    }
    out[0] = exponents[b];
    for (int i = 0; i < 16; i++) out[1 + i] = static_cast<uint8_t>(apart[i] | apart[i + 16] << 4);
  }
}
