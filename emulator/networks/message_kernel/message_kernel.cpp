// Kernel messages in one pass: what a layer of angular_kernels.py computes, forward and backward, for rows
// [node, batch, channel] in single precision or bfloat16.
//
//     total_i = b + U x_i + sum_o sum_k W_ok r_iok,   r_iok = sum_{e: j -> i in octave o} phi_k(e) T_e x_j
//     out_i   = x_i + c + V silu(total_i)
//
// Rows are taken in tiles that stay in the cache: the sums r of a tile are made, multiplied by the weights and forgotten.
// Each row is computed by one thread, in an order that depends neither on its tile nor on the number of threads, and
// gradients of weights are summed over chunks of rows whose number depends on the sizes alone: results repeat to the bit.
//
// The file is compiled once for each instruction set (ISA: 0 plain, 1 AVX2, 2 AVX-512, 3 AVX-512 with bfloat16, 4 that
// with AMX), for whose vectors the GNU extensions of GCC and Clang stand. Matrix products take their operands in units of
// 32 bits: one number in single precision, two neighbours along the sum in bfloat16, where the processor multiplies such
// pairs. Processors with AMX multiply pairs in vectors at half the rate of single numbers, and in tiles at sixteen times
// that: with it, products of pairs are AMX's and sums over edges those of single numbers.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>

#ifndef ISA
#define ISA 0
#endif
#if ISA >= 2
#include <immintrin.h>
#endif

#define UNROLL _Pragma("GCC unroll 32")
#define JOINED(a, b) a##b
#define NAMED(name, isa) JOINED(name, isa)
#define EXPORT extern "C" __attribute__((visibility("default")))

typedef void (*Task)(void* context, int64_t number);
extern "C" void meshcast_run(int64_t tasks, int64_t threads, Task task, void* context);  // in threads.cpp

namespace {

constexpr int LANES = ISA >= 2 ? 16 : ISA == 1 ? 8 : 4;
constexpr int WIDE = ISA >= 2 ? 4 : 2;  // vectors of columns that a product or a sum holds in registers
constexpr int TALL = 6;                 // and rows of a product
constexpr int AHEAD = 2;                // rows ahead of which a sum asks for what it will read
constexpr int STEP = 128;               // units along the sum of a product, so that a panel of them stays in the cache

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
struct bfloat16 {
    uint16_t bits;
};

// Vectors ------------------------------------------------------------------------------------------------------------

inline Floats splat(float value) {
    int32_t bits;
    memcpy(&bits, &value, 4);
    return (Floats)(Ints{} + bits);
}

inline Floats load(const float* from) {
    Floats v;
    memcpy(&v, from, sizeof v);
    return v;
}

inline Floats load(const bfloat16* from) {
#if ISA >= 2  // what GCC makes of the general form takes several instructions
    return (Floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)), 16);
#else
    Halves h;
    memcpy(&h, from, sizeof h);
    return (Floats)(__builtin_convertvector(h, Bits) << 16);
#endif
}

inline Halves rounded(Floats v) {  // to the nearest, ties to even
#if ISA >= 3
    return (Halves)_mm512_cvtneps_pbh((__m512)v);
#else
    Bits u = (Bits)v;
    Bits near = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    Bits nan = (Bits)(v != v);
    return __builtin_convertvector((near & ~nan) | (nan & 0x7fc0u), Halves);
#endif
}

inline void store(float* to, Floats v) { memcpy(to, &v, sizeof v); }

inline void store(bfloat16* to, Floats v) {
    Halves h = rounded(v);
    memcpy(to, &h, sizeof h);
}

template <int N>  // registers one after another
inline void store_all(float* to, const Floats* v) {
    UNROLL for (int j = 0; j < N; ++j) store(to + j * LANES, v[j]);
}

template <int N>
inline void store_all(bfloat16* to, const Floats* v) {
    int j = 0;
#if ISA >= 3
    UNROLL for (; j + 1 < N; j += 2)
        _mm512_storeu_si512(to + j * LANES, (__m512i)_mm512_cvtne2ps_pbh((__m512)v[j + 1], (__m512)v[j]));
#endif
    UNROLL for (; j < N; ++j) store(to + j * LANES, v[j]);
}

inline float number(float x) { return x; }
inline float number(bfloat16 x) {
    uint32_t u = uint32_t(x.bits) << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

inline Floats exponential(Floats x) {  // of x <= 88; polynomial of Cephes' expf
    x = x < splat(-87.0f) ? splat(-87.0f) : x;
    x = x > splat(88.0f) ? splat(88.0f) : x;
    const Floats magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    Floats shifted = x * splat(1.44269504f) + magic;
    Floats n = shifted - magic;
    Floats r = x - n * splat(0.693359375f);
    r = r - n * splat(-2.12194440e-4f);
    Floats p = splat(1.9875691500e-4f);
    p = p * r + splat(1.3981999507e-3f);
    p = p * r + splat(8.3334519073e-3f);
    p = p * r + splat(4.1665795894e-2f);
    p = p * r + splat(1.6666665459e-1f);
    p = p * r + splat(5.0000001201e-1f);
    p = p * r * r + r + splat(1.0f);
    return (Floats)((Bits)p + ((Bits)shifted << 23));
}

inline Floats sigmoid(Floats x) { return splat(1.0f) / (splat(1.0f) + exponential(-x)); }

inline Ints lane() {
    Ints v;
    for (int i = 0; i < LANES; ++i) v[i] = i;
    return v;
}

// Channels [0, n) are east, [n, 2 n) north: return J x, minus north in place of east and east in place of north, for
// the channels from c on of a row; nothing beyond 2 n.
template <class T>
inline Floats quarter_turn(const T* row, int64_t c, int64_t n) {
#if ISA >= 2
    int64_t east = std::min<int64_t>(std::max<int64_t>(n - c, 0), LANES);
    int64_t both = std::min<int64_t>(std::max<int64_t>(2 * n - c, 0), LANES);
    __mmask16 first = (__mmask16)((1u << east) - 1), second = (__mmask16)(((1u << both) - 1) & ~first);
    if constexpr (sizeof(T) == 4) {
        __m512 up = _mm512_maskz_loadu_ps(first, (const float*)row + c + n);
        return (Floats)_mm512_sub_ps(_mm512_maskz_loadu_ps(second, (const float*)row + c - n), up);
    } else {
        __m256i up = _mm256_maskz_loadu_epi16(first, (const uint16_t*)row + c + n);
        __m256i down = _mm256_maskz_loadu_epi16(second, (const uint16_t*)row + c - n);
        __m512i u = _mm512_slli_epi32(_mm512_cvtepu16_epi32(up), 16);
        __m512i d = _mm512_slli_epi32(_mm512_cvtepu16_epi32(down), 16);
        return (Floats)_mm512_sub_ps((__m512)d, (__m512)u);
    }
#else
    if (c + LANES <= n) return -load(row + c + n);
    if (c >= n && c + LANES <= 2 * n) return load(row + c - n);
    Floats v = splat(0.0f);
    for (int i = 0; i < LANES; ++i) {
        if (c + i < n) v[i] = -number(row[c + i + n]);
        else if (c + i < 2 * n) v[i] = number(row[c + i - n]);
    }
    return v;
#endif
}

// The cosine for a vector's channels, one for a scalar's.
inline Floats cosine_or_one(float cosine, int64_t c, int64_t n) {
    if (c + LANES <= 2 * n) return splat(cosine);
    return lane() + int32_t(c) < Ints{} + int32_t(2 * n) ? splat(cosine) : splat(1.0f);
}

// Units of products --------------------------------------------------------------------------------------------------

struct Single {
    typedef float Value;
    static constexpr int PER_UNIT = 1;
    static inline Floats operand(const uint32_t* b) { return load((const float*)b); }
    static inline Floats add(Floats sum, uint32_t a, Floats b) { return sum + (Floats)(Bits{} + a) * b; }
    static inline Bits unit(Floats first, Floats) { return (Bits)first; }
};

#if ISA >= 3
struct Pairs {
    typedef bfloat16 Value;
    static constexpr int PER_UNIT = 2;
    static inline __m512i operand(const uint32_t* b) { return _mm512_loadu_si512(b); }
    static inline Floats add(Floats sum, uint32_t a, __m512i b) {
        return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(int(a)), (__m512bh)b);
    }
    static inline Bits unit(Floats first, Floats second) {
        const Bits low = __builtin_convertvector(rounded(first), Bits);
        return low | __builtin_convertvector(rounded(second), Bits) << 16;
    }
};
#endif

// out[m, n] = or += sum_p a(m, p) b(p, n) for M rows and N vectors. ACROSS: a is [p][m], else [m][p].
template <class U, int M, int N, bool ACROSS, bool ADD, class T>
inline void block(int64_t units, const uint32_t* a, int64_t a_step, const uint32_t* b, int64_t b_step, T* out,
                  int64_t out_step) {
    Floats sum[M][N];
    UNROLL for (int m = 0; m < M; ++m) UNROLL for (int n = 0; n < N; ++n) sum[m][n] = splat(0.0f);
    for (int64_t p = 0; p < units; ++p) {
        decltype(U::operand(b)) operand[N];
        UNROLL for (int n = 0; n < N; ++n) operand[n] = U::operand(b + p * b_step + n * LANES);
        UNROLL for (int m = 0; m < M; ++m) {
            const uint32_t value = ACROSS ? a[p * a_step + m] : a[m * a_step + p];
            UNROLL for (int n = 0; n < N; ++n) sum[m][n] = U::add(sum[m][n], value, operand[n]);
        }
    }
    UNROLL for (int m = 0; m < M; ++m) UNROLL for (int n = 0; n < N; ++n) {
        T* to = out + m * out_step + n * LANES;
        if constexpr (ADD) sum[m][n] += load(to);
        store(to, sum[m][n]);
    }
}

template <class U, int N, bool ACROSS, bool ADD, class T>
void columns(int64_t rows, int64_t units, const uint32_t* a, int64_t a_step, const uint32_t* b, int64_t b_step,
                    T* out, int64_t out_step) {
    const int64_t a_row = ACROSS ? 1 : a_step;
    int64_t m = 0;
    for (; m + TALL <= rows; m += TALL)
        block<U, TALL, N, ACROSS, ADD>(units, a + m * a_row, a_step, b, b_step, out + m * out_step, out_step);
    if (m + 4 <= rows) {
        block<U, 4, N, ACROSS, ADD>(units, a + m * a_row, a_step, b, b_step, out + m * out_step, out_step);
        m += 4;
    }
    if (m + 2 <= rows) {
        block<U, 2, N, ACROSS, ADD>(units, a + m * a_row, a_step, b, b_step, out + m * out_step, out_step);
        m += 2;
    }
    if (m < rows) block<U, 1, N, ACROSS, ADD>(units, a + m * a_row, a_step, b, b_step, out + m * out_step, out_step);
}

#if ISA == 4
// The same by AMX, for any number of rows, in tiles of SIDE x SIDE units. What a tile lacks is zeros, which add nothing.
constexpr int SIDE = 16;

struct TileShapes {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};

    TileShapes() {  // 0 to 3: sums; 4 and 5: left and right side; 6 and 7: these where half as many units are left
        for (int i = 0; i < 8; ++i) bytes[i] = i == 6 ? 32 : 64, rows[i] = i == 7 ? 8 : 16;
    }
};

// The compiler does not know what the instructions below read and write.
inline void settle() { asm volatile("" ::: "memory"); }

// Up to SIDE rows of SIDE units as columns.
inline void transposed(const uint32_t* from, int64_t step, int64_t rows, uint32_t* to) {
    __m512i r[SIDE], t[SIDE];
    UNROLL for (int i = 0; i < SIDE; ++i) r[i] = i < rows ? _mm512_loadu_si512(from + i * step) : _mm512_setzero_si512();
    UNROLL for (int i = 0; i < SIDE; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL for (int i = 0; i < SIDE; i += 4) UNROLL for (int j = 0; j < 2; ++j) {
        r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
        r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
    UNROLL for (int j = 0; j < 4; ++j) {  // r[4 g + j]: columns j, 4 + j, 8 + j and 12 + j of rows 4 g to 4 g + 3
        const __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88), b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        const __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        const __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        _mm512_store_si512(to + j * SIDE, _mm512_shuffle_i32x4(a, c, 0x88));
        _mm512_store_si512(to + (4 + j) * SIDE, _mm512_shuffle_i32x4(b, d, 0x88));
        _mm512_store_si512(to + (8 + j) * SIDE, _mm512_shuffle_i32x4(a, c, 0xdd));
        _mm512_store_si512(to + (12 + j) * SIDE, _mm512_shuffle_i32x4(b, d, 0xdd));
    }
}

template <int N>
inline void load_sums(const float* from, int64_t step) {
    settle();
    _tile_loadd(0, from, step * 4);
    if constexpr (N > 1) _tile_loadd(1, from + SIDE, step * 4);
    if constexpr (N > 2) _tile_loadd(2, from + 2 * SIDE, step * 4);
    if constexpr (N > 3) _tile_loadd(3, from + 3 * SIDE, step * 4);
}

template <int N>
inline void store_sums(float* to, int64_t step) {
    _tile_stored(0, to, step * 4);
    if constexpr (N > 1) _tile_stored(1, to + SIDE, step * 4);
    if constexpr (N > 2) _tile_stored(2, to + 2 * SIDE, step * 4);
    if constexpr (N > 3) _tile_stored(3, to + 3 * SIDE, step * 4);
    settle();
}

#define ADD_PRODUCT(sum, left, right)                        \
    _tile_loadd(right, b + sum * SIDE, b_step * 4);          \
    _tile_dpbf16ps(sum, left, right)

#define ADD_PRODUCTS(left, right)                            \
    settle();                                                \
    _tile_loadd(left, a, a_step * 4);                        \
    ADD_PRODUCT(0, left, right);                             \
    if constexpr (N > 1) { ADD_PRODUCT(1, left, right); }    \
    if constexpr (N > 2) { ADD_PRODUCT(2, left, right); }    \
    if constexpr (N > 3) { ADD_PRODUCT(3, left, right); }

template <int N, bool HALF>
inline void add_products(const uint32_t* a, int64_t a_step, const uint32_t* b, int64_t b_step) {
    if constexpr (HALF) {
        ADD_PRODUCTS(6, 7)
    } else {
        ADD_PRODUCTS(4, 5)
    }
}

template <int N, bool ACROSS, bool ADD, class T>
void tiles(int64_t rows, int64_t units, const uint32_t* a, int64_t a_step, const uint32_t* b, int64_t b_step, T* out,
           int64_t out_step) {
    alignas(64) uint32_t left[SIDE * SIDE], right[SIDE * N * SIDE];
    alignas(64) float sums[SIDE * N * SIDE];
    constexpr bool IN_PLACE = ADD && std::is_same_v<T, float>;
    for (int64_t m = 0; m < rows; m += SIDE) {
        const int64_t some = std::min<int64_t>(SIDE, rows - m);
        const bool in_place = IN_PLACE && some == SIDE;
        T* to = out + m * out_step;
        if (in_place) {
            load_sums<N>((const float*)to, out_step);
        } else {
            memset(sums, 0, sizeof sums);
            if constexpr (ADD)
                for (int64_t i = 0; i < some; ++i)
                    UNROLL for (int n = 0; n < N; ++n) store(sums + (i * N + n) * SIDE, load(to + i * out_step + n * SIDE));
            load_sums<N>(sums, N * SIDE);
        }
        for (int64_t p = 0; p < units; p += SIDE) {
            const int64_t along = std::min<int64_t>(SIDE, units - p);
            const bool half = !ACROSS && along == SIDE / 2, whole = half || along == SIDE;
            const uint32_t *here = a + m * a_step + p, *there = b + p * b_step;
            int64_t step = a_step, there_step = b_step;
            if constexpr (ACROSS) {
                transposed(a + p * a_step + m, a_step, along, left);
                here = left, step = SIDE;
            } else if (some < SIDE || !whole) {
                memset(left, 0, sizeof left);
                for (int64_t i = 0; i < some; ++i) memcpy(left + i * SIDE, here + i * a_step, along * sizeof *left);
                here = left, step = SIDE;
            }
            if (!whole) {
                memset(right, 0, sizeof right);
                for (int64_t i = 0; i < along; ++i) memcpy(right + i * N * SIDE, there + i * b_step, N * SIDE * sizeof *right);
                there = right, there_step = N * SIDE;
            }
            if (half) add_products<N, true>(here, step, there, there_step);
            else add_products<N, false>(here, step, there, there_step);
        }
        if (in_place) {
            store_sums<N>((float*)to, out_step);
            continue;
        }
        store_sums<N>(sums, N * SIDE);
        for (int64_t i = 0; i < some; ++i)
            UNROLL for (int n = 0; n < N; ++n) store(to + i * out_step + n * SIDE, load(sums + (i * N + n) * SIDE));
    }
}
#endif

template <class U, int N, bool ACROSS, bool ADD, class T>
inline void rows_of(int64_t rows, int64_t units, const uint32_t* a, int64_t a_step, const uint32_t* b, int64_t b_step,
                    T* out, int64_t out_step) {
#if ISA == 4
    if constexpr (U::PER_UNIT == 2) return tiles<N, ACROSS, ADD>(rows, units, a, a_step, b, b_step, out, out_step);
#endif
    columns<U, N, ACROSS, ADD>(rows, units, a, a_step, b, b_step, out, out_step);
}

// out [rows, width] = or += a b. b is [unit][width], or where PANELS in panels of up to WIDE vectors, one after another.
template <class U, bool ACROSS, bool PANELS, bool ADD, class T>
void product(int64_t rows, int64_t width, int64_t units, const uint32_t* a, int64_t a_step, const uint32_t* b, T* out,
             int64_t out_step) {
#if ISA == 4
    static const TileShapes shapes;
    if constexpr (U::PER_UNIT == 2) _tile_loadconfig(&shapes);
#endif
    for (int64_t n = 0; n < width; n += WIDE * LANES) {
        const int64_t wide = std::min<int64_t>(WIDE * LANES, width - n), b_step = PANELS ? wide : width;
        const uint32_t* panel = PANELS ? b + n * units : b + n;
        for (int64_t p = 0; p < units; p += ADD ? STEP : units) {
            const int64_t some = ADD ? std::min<int64_t>(STEP, units - p) : units;
            const uint32_t* left = a + p * (ACROSS ? a_step : 1);
            const uint32_t* right = panel + p * b_step;
            switch (wide / LANES) {
                case 1: rows_of<U, 1, ACROSS, ADD>(rows, some, left, a_step, right, b_step, out + n, out_step); break;
                case 2: rows_of<U, 2, ACROSS, ADD>(rows, some, left, a_step, right, b_step, out + n, out_step); break;
#if ISA >= 2
                case 3: rows_of<U, 3, ACROSS, ADD>(rows, some, left, a_step, right, b_step, out + n, out_step); break;
                case 4: rows_of<U, 4, ACROSS, ADD>(rows, some, left, a_step, right, b_step, out + n, out_step); break;
#endif
            }
        }
    }
#if ISA == 4
    if constexpr (U::PER_UNIT == 2) _tile_release();
#endif
}

// A matrix [length, width] as panels of a product's right side. row(p): where a row's numbers stand, one after another.
template <class U, class Row>
void pack_rows(int64_t length, int64_t width, Row row, uint32_t* to) {
    for (int64_t n = 0; n < width; n += WIDE * LANES) {
        const int64_t wide = std::min<int64_t>(WIDE * LANES, width - n);
        for (int64_t p = 0; p < length; p += U::PER_UNIT)
            for (int64_t i = 0; i < wide; i += LANES, to += LANES) {
                const Bits unit = U::unit(load(row(p) + n + i), load(row(p + U::PER_UNIT - 1) + n + i));
                memcpy(to, &unit, sizeof unit);
            }
    }
}

// Rows `first` to first + length of a matrix whose columns' numbers stand one after another, from column(n) on. units:
// of all the matrix's rows.
template <class U, class Column>
void pack_columns(int64_t first, int64_t length, int64_t units, int64_t width, Column column, uint32_t* to) {
    constexpr int G = LANES / U::PER_UNIT;  // units of a register along a column
    typename U::Value numbers[LANES][LANES];
    uint32_t square[LANES][G];
    for (int64_t n = 0; n < width; n += LANES) {
        const int64_t panel = n / (WIDE * LANES) * (WIDE * LANES), wide = std::min<int64_t>(WIDE * LANES, width - panel);
        for (int64_t p = 0; p < length; p += LANES) {
            for (int i = 0; i < LANES; ++i) store(numbers[i], load(column(n + i) + p));
            memcpy(square, numbers, sizeof square);
            uint32_t* corner = to + panel * units + (first + p) / U::PER_UNIT * wide + n - panel;
            for (int u = 0; u < G; ++u) {
#if ISA >= 2
                const __m512i places = _mm512_mullo_epi32((__m512i)lane(), _mm512_set1_epi32(G));
                _mm512_storeu_si512(corner + u * wide, _mm512_i32gather_epi32(places, &square[0][u], 4));
#else
                for (int i = 0; i < LANES; ++i) corner[u * wide + i] = square[i][u];
#endif
            }
        }
    }
}

// Sums over edges ----------------------------------------------------------------------------------------------------

struct Edges {  // sorted by the node at one end
    const int32_t* start;   // [node + 1] each one's first edge
    const int32_t* other;   // [edge] the node at the other end
    const float* weights;   // [edge, K + 2] kernels, cosine and sine of the turn
    const uint32_t* pairs;  // [edge, K] kernels of an edge and of the node's next, in bfloat16; zeros where there is none
};

struct Octave {
    int64_t count;              // receivers that it reaches
    const int32_t* place;       // [receiver] which of these a receiver is, -1 where it is none
    Edges edges, back;          // by receiver, and by sender
    const int32_t* back_place;  // [edge of `back`] which of the octave's receivers its other node is
};

struct Sizes {  // as Python hands it over
    int64_t senders, receivers, batch, channels, hidden, vectors, octaves, kernels;

    // Channels from `turned` on are none of a vector's; both bounds are multiples of any vector's length.
    int64_t turned() const { return (2 * vectors + 15) / 16 * 16; }
    int64_t still() const { return 2 * vectors / 16 * 16; }
};

struct Row {
    int32_t at, node, place, batch;  // at: in the tile; place: among an octave's receivers
};

// Ask for what a row will sum: `size` values of each of its senders, from the first of `values` on.
template <class T>
inline void ask_for(const Edges& edges, const Row& row, const T* values, int64_t batch, int64_t channels, size_t size) {
    values += int64_t(row.batch) * channels;
    for (int32_t e = edges.start[row.node]; e < edges.start[row.node + 1]; ++e)
        for (size_t byte = 0; byte < size * sizeof(T); byte += 64)
            __builtin_prefetch((const char*)(values + int64_t(edges.other[e]) * batch * channels) + byte);
}

// Sums of N vectors of channels from c on over the edges of some rows, out [row, K, channel].
template <bool TURN, class T, class V, int K, int N>
inline void sums(const Edges& edges, const Row* rows, int64_t count, const T* values, int64_t batch, int64_t channels,
                 int64_t c, int64_t vectors, V* out) {
    const int32_t *start = edges.start, *other = edges.other;
    for (int64_t n = 0; n < count; ++n, out += K * channels) {
        if (n + AHEAD < count) ask_for(edges, rows[n + AHEAD], values + c, batch, channels, N * LANES);
        const T* mine = values + int64_t(rows[n].batch) * channels + c;
        const int32_t end = start[rows[n].node + 1];
        Floats sum[K][N];
        UNROLL for (int k = 0; k < K; ++k) UNROLL for (int j = 0; j < N; ++j) sum[k][j] = splat(0.0f);
        for (int32_t e = start[rows[n].node]; e < end; ++e) {
            const T* row = mine + int64_t(other[e]) * batch * channels;
            const float* weights = edges.weights + int64_t(e) * (K + 2);
            Floats x[N];
            UNROLL for (int j = 0; j < N; ++j) {
                x[j] = load(row + j * LANES);
                if (TURN && c + j * LANES < 2 * vectors)
                    x[j] = x[j] * cosine_or_one(weights[K], c + j * LANES, vectors) +
                           quarter_turn(row - c, c + j * LANES, vectors) * splat(weights[K + 1]);
            }
            UNROLL for (int k = 0; k < K; ++k) {
                const Floats weight = splat(weights[k]);
                UNROLL for (int j = 0; j < N; ++j) sum[k][j] += weight * x[j];
            }
        }
        UNROLL for (int k = 0; k < K; ++k) store_all<N>(out + k * channels + c, sum[k]);
    }
}

#if ISA == 3
// The same in bfloat16, two edges at a time as products of pairs. TURNED: how many vectors are turned from the first on;
// of one, `vectors` channels are east, as many north, and the others no vector's; of two, the first is east.
template <int TURNED, int K, int N>
inline void paired_sums(const Edges& edges, const Row* rows, int64_t count, const bfloat16* values, int64_t batch,
                        int64_t channels, int64_t c, int64_t vectors, bfloat16* out) {
    const Ints lanes = lane(), half = Ints{} + 0x00200000;  // where in two registers: numbers i and 32 + i side by side
    const __m512i low = (__m512i)(lanes * 0x00010001 + half), high = (__m512i)(lanes * 0x00010001 + half + 0x00100010);
    const __m512i joined = (__m512i)(lanes * 0x00010001 + 0x00100000);  // the same of numbers i and 16 + i of one
    const int32_t n_east = int32_t(vectors);
    const __mmask16 turned = (__mmask16)((1u << std::min<int64_t>(2 * vectors, LANES)) - 1);
    const Ints is_east = lanes < n_east, partner = is_east ? lanes + n_east : lanes - n_east;
    const Ints minus = is_east & Ints{} + INT32_MIN;
    const __m512 ones = (__m512)splat(1.0f);
    const auto turn_of = [&](int32_t e) { return edges.weights + int64_t(e) * (K + 2) + K; };  // cosine and sine
    const auto turned_on = [&](int32_t e, const bfloat16* row) {
        const float* turn = turn_of(e);
        const Floats x = load(row), cosine = (Floats)_mm512_mask_broadcastss_ps(ones, turned, _mm_load_ss(turn));
        const Ints sine = (Ints)_mm512_maskz_broadcastss_ps(turned, _mm_load_ss(turn + 1)) ^ minus;
        return x * cosine + (Floats)_mm512_permutexvar_ps((__m512i)partner, (__m512)x) * (Floats)sine;
    };
    for (int64_t n = 0; n < count; ++n, out += K * channels) {
        if (n + AHEAD < count) ask_for(edges, rows[n + AHEAD], values + c, batch, channels, N * LANES);
        const bfloat16* mine = values + int64_t(rows[n].batch) * channels + c;
        const int32_t end = edges.start[rows[n].node + 1];
        Floats sum[K][N];
        UNROLL for (int k = 0; k < K; ++k) UNROLL for (int j = 0; j < N; ++j) sum[k][j] = splat(0.0f);
        for (int32_t e = edges.start[rows[n].node]; e < end; e += 2) {
            const int32_t next = std::min(e + 1, end - 1);
            const bfloat16* first = mine + int64_t(edges.other[e]) * batch * channels;
            const bfloat16* second = mine + int64_t(edges.other[next]) * batch * channels;
            __m512i x[N];
            int j = 0;
            const auto side_by_side = [&](Floats here, Floats there) {
                return _mm512_permutexvar_epi16(joined, (__m512i)_mm512_cvtne2ps_pbh((__m512)there, (__m512)here));
            };
            if constexpr (TURNED == 1) {
                x[j++] = side_by_side(turned_on(e, first), turned_on(next, second));
            } else if constexpr (TURNED == 2) {
                const float *here = turn_of(e), *there = turn_of(next);
                const Floats east = load(first), north = load(first + LANES);
                const Floats east_there = load(second), north_there = load(second + LANES);
                x[j++] = side_by_side(east * splat(here[0]) - north * splat(here[1]),
                                      east_there * splat(there[0]) - north_there * splat(there[1]));
                x[j++] = side_by_side(north * splat(here[0]) + east * splat(here[1]),
                                      north_there * splat(there[0]) + east_there * splat(there[1]));
            }
            UNROLL for (; j + 1 < N; j += 2) {
                const __m512i a = _mm512_loadu_si512(first + j * LANES), b = _mm512_loadu_si512(second + j * LANES);
                x[j] = _mm512_permutex2var_epi16(a, low, b);
                x[j + 1] = _mm512_permutex2var_epi16(a, high, b);
            }
            UNROLL for (; j < N; ++j) {
                const __m512i a = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)(first + j * LANES)));
                const __m512i b = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)(second + j * LANES)));
                x[j] = _mm512_permutex2var_epi16(a, low, b);
            }
            const uint32_t* weights = edges.pairs + int64_t(e) * K;
            UNROLL for (int k = 0; k < K; ++k) UNROLL for (int j = 0; j < N; ++j)
                sum[k][j] = Pairs::add(sum[k][j], weights[k], x[j]);
        }
        UNROLL for (int k = 0; k < K; ++k) store_all<N>(out + k * channels + c, sum[k]);
    }
}
#endif

// The same for all channels, of which the first 2 `vectors` are turned on each edge.
template <int K, class T, class V>
void all_sums(const Edges& edges, const Row* rows, int64_t count, const T* values, int64_t batch, int64_t channels,
              int64_t vectors, V* out) {
    for (int64_t c = 0, some; c < channels; c += some * LANES) {
        some = std::min<int64_t>(WIDE, (channels - c) / LANES);
        const auto of = [&](auto turns, auto width) {
            constexpr bool TURN = decltype(turns)::value;
            constexpr int N = decltype(width)::value;
#if ISA == 3
            if constexpr (std::is_same_v<T, bfloat16> && std::is_same_v<V, bfloat16>) {
                if (!TURN || 2 * vectors <= LANES)
                    return paired_sums<TURN, K, N>(edges, rows, count, values, batch, channels, c, vectors, out);
                if constexpr (N > 1)
                    if (c == 0 && vectors == LANES)
                        return paired_sums<2, K, N>(edges, rows, count, values, batch, channels, c, vectors, out);
            }
#endif
            sums<TURN, T, V, K, N>(edges, rows, count, values, batch, channels, c, vectors, out);
        };
        const auto turned_or_not = [&](auto width) {
            if (c < 2 * vectors) of(std::true_type(), width);
            else of(std::false_type(), width);
        };
        switch (some) {
            case 1: turned_or_not(std::integral_constant<int, 1>()); break;
#if ISA >= 2
            case 3: turned_or_not(std::integral_constant<int, 3>()); break;
            case 4: turned_or_not(std::integral_constant<int, 4>()); break;
#endif
            default: turned_or_not(std::integral_constant<int, 2>());
        }
    }
}

// Add what flows back to the vectors of an octave's senders, cos and sin of T' apart: sum_e cos(e) sum_k phi_k(e) y_k and
// sum_e sin(e) sum_k phi_k(e) y_k of its receivers, y [place, batch, K, width].
template <class T, int K>
void add_vectors_back(const Octave& octave, const Row* rows, int64_t count, const T* y, int64_t batch, int64_t width,
                      float* straight, int64_t step, float* across) {
    const int64_t each = batch * K * width;
    const auto ask = [&](const Row& row) {
        for (int32_t e = octave.back.start[row.node]; e < octave.back.start[row.node + 1]; ++e)
            for (int64_t byte = 0; byte < int64_t(K * width * sizeof(T)); byte += 64)
                __builtin_prefetch((const char*)(y + octave.back_place[e] * each + row.batch * K * width) + byte);
    };
    for (int64_t n = 0; n < count; ++n) {
        if (n + AHEAD < count) ask(rows[n + AHEAD]);
        const int32_t begin = octave.back.start[rows[n].node], end = octave.back.start[rows[n].node + 1];
        for (int64_t c = 0; c < width; c += LANES) {
            const T* column = y + rows[n].batch * K * width + c;
            Floats whole = load(straight + rows[n].at * step + c), part = load(across + rows[n].at * width + c);
            for (int32_t e = begin; e < end; ++e) {
                const T* row = column + octave.back_place[e] * each;
                const float* weights = octave.back.weights + int64_t(e) * (K + 2);
                Floats sum = splat(0.0f);
                UNROLL for (int k = 0; k < K; ++k) sum += splat(weights[k]) * load(row + k * width);
                whole += sum * splat(weights[K]);
                part += sum * splat(weights[K + 1]);
            }
            store(straight + rows[n].at * step + c, whole);
            store(across + rows[n].at * width + c, part);
        }
    }
}

// Tiles --------------------------------------------------------------------------------------------------------------

// Memory of a thread that grows with what is asked of it.
inline char* workspace(size_t bytes) {
    struct Memory {
        void* at = nullptr;
        size_t size = 0;
        ~Memory() { free(at); }
    };
    static thread_local Memory memory;
    if (memory.size < bytes) {
        free(memory.at);
        memory.size = (bytes + 4095) / 4096 * 4096;
        if (posix_memalign(&memory.at, 4096, memory.size)) abort();
    }
    return (char*)memory.at;
}

struct Carved {  // pieces of the workspace, each from the start of a cache line
    char* at;
    template <class T>
    T* piece(size_t count) {
        T* here = (T*)at;
        at += (count * sizeof(T) + 63) / 64 * 64;
        return here;
    }
};

// A tile's rows whose node has edges; returns how many.
inline int64_t rows_with_edges(const int32_t* start, const int32_t* place, const Sizes& s, int64_t first, int64_t rows,
                               Row* which) {
    int64_t count = 0, node = first / s.batch, b = first % s.batch;
    for (int64_t r = 0; r < rows;) {
        const int64_t until = std::min(rows, r + s.batch - b);
        if (start[node + 1] > start[node]) {
            for (; r < until; ++r, ++b) which[count++] = Row{int32_t(r), int32_t(node), place ? place[node] : 0, int32_t(b)};
        }
        r = until, b = 0, ++node;
    }
    return count;
}

inline bool together(const Row* which, int64_t count) { return which[count - 1].at - which[0].at + 1 == count; }

// Rows [row][column] as units along the rows, [row / PER_UNIT][column]; a row that lacks its partner stands with zeros.
template <class U, class T>
inline const uint32_t* along_rows(const T* from, int64_t rows, int64_t width, uint32_t* to) {
    if constexpr (U::PER_UNIT == 1) {
        if constexpr (sizeof(T) == 4) return (const uint32_t*)from;
        for (int64_t i = 0; i < rows * width; i += LANES) store((float*)to + i, load(from + i));
        return to;
    }
#if ISA >= 3
    for (int64_t r = 0; r < rows; r += 2)
        for (int64_t c = 0; c < width; c += LANES) {
            const __m256i* at = (const __m256i*)(from + r * width + c);
            __m512i unit = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at));
            if (r + 1 < rows) {
                const __m256i* next = (const __m256i*)(from + (r + 1) * width + c);
                unit = _mm512_or_si512(unit, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(next)), 16));
            }
            _mm512_storeu_si512(to + r / 2 * width + c, unit);
        }
#endif
    return to;
}

// Rows as a product's left side: themselves where they are in the product's precision already.
template <class U, class T>
inline const uint32_t* left_side(const T* rows, int64_t count, uint32_t* room) {
    if constexpr (std::is_same_v<T, typename U::Value>) return (const uint32_t*)rows;
    for (int64_t i = 0; i < count; i += LANES) store((typename U::Value*)room + i, load(rows + i));
    return room;
}

struct Matrices {  // where `pack` puts them, in units
    int64_t neighbours, each, vectors, each_vectors, own, out, end;

    Matrices(const Sizes& s, bool back, int64_t per_unit) {
        const int64_t square = s.channels * s.hidden / per_unit, rows = s.kernels * s.hidden / per_unit;
        each = back ? rows * (s.channels - s.still()) : s.kernels * square;
        each_vectors = back ? rows * s.turned() : 0;
        neighbours = 0;
        vectors = s.octaves * each;
        own = vectors + s.octaves * each_vectors;
        out = own + square;
        end = out + square;
    }
};

template <class U>
void pack(const Sizes& s, const float* neighbours, const float* own, const float* out, bool back, uint32_t* to) {
    const int64_t C = s.channels, H = s.hidden, K = s.kernels, still = s.still(), turned = s.turned(), both = 2 * s.vectors;
    const Matrices at(s, back, U::PER_UNIT);
    if (!back) {
        for (int64_t o = 0; o < s.octaves; ++o) {
            const float* W = neighbours + o * K * C * H;  // [k, channel, hidden]
            pack_rows<U>(K * C, H, [=](int64_t p) { return W + p * H; }, to + at.neighbours + o * at.each);
        }
        pack_columns<U>(0, C, C / U::PER_UNIT, H, [=](int64_t n) { return own + n * C; }, to + at.own);
        pack_columns<U>(0, H, H / U::PER_UNIT, C, [=](int64_t n) { return out + n * H; }, to + at.out);
        return;
    }
    const std::unique_ptr<float[]> none(new float[H]());
    const float* zeros = none.get();
    for (int64_t o = 0; o < s.octaves; ++o) {
        const float* W = neighbours + o * K * C * H;
        for (int64_t k = 0; k < K; ++k) {
            const auto scalar = [=](int64_t n) { return n + still < both ? zeros : W + (k * C + n + still) * H; };
            pack_columns<U>(k * H, H, K * H / U::PER_UNIT, C - still, scalar, to + at.neighbours + o * at.each);
        }
        const auto vector = [=](int64_t n) { return n % turned < both ? W + (n / turned * C + n % turned) * H : zeros; };
        if (both) pack_columns<U>(0, H, H / U::PER_UNIT, K * turned, vector, to + at.vectors + o * at.each_vectors);
    }
    pack_rows<U>(H, C, [=](int64_t p) { return own + p * C; }, to + at.own);
    pack_rows<U>(C, H, [=](int64_t p) { return out + p * H; }, to + at.out);
}

// One layer's pass. T: of the values in memory; U: of the products.
template <class U, class T, int K>
struct Layer {
    typedef typename U::Value Value;
    static constexpr int64_t P = U::PER_UNIT;
    Sizes s;
    const Octave* octaves;
    const T *senders, *receivers;
    const uint32_t* weights;
    Matrices matrix;
    const float *own_bias, *out_bias;
    int64_t tile;
    T *out, *total;

    // Backward.
    const T* gradient;
    T *own_gradient, *sender_gradient;
    T *hidden_gradient, *vectors_back;  // [receiver, batch, hidden]; [octave's receiver, batch, K, turned]
    float* sums_of_chunks;              // [chunk, weight]
    uint8_t* touched;                   // [chunk, octave]
    int64_t chunk_weights, tiles_each;
    bool same;

    int64_t tiles(int64_t nodes) const { return (nodes * s.batch + tile - 1) / tile; }

    // total[at of each row] += sums over an octave's edges times weights [K * columns, width]
    template <class Sent>
    void mix(const Edges& edges, const Row* which, int64_t count, const Sent* values, int64_t columns, int64_t vectors,
             const uint32_t* mixing, int64_t width, Value* received, float* some, float* to, int64_t to_step) const {
        all_sums<K>(edges, which, count, values, s.batch, columns, vectors, received);
        const bool whole = together(which, count);
        float* into = whole ? to + which[0].at * to_step : some;
        const int64_t step = whole ? to_step : width, units = K * columns / P;
        if (!whole) memset(some, 0, count * width * sizeof(float));
        product<U, false, true, true>(count, width, units, (uint32_t*)received, units, mixing, into, step);
        if (whole) return;
        for (int64_t n = 0; n < count; ++n)
            for (int64_t i = 0; i < width; i += LANES) {
                float* here = to + which[n].at * to_step + i;
                store(here, load(here) + load(some + n * width + i));
            }
    }

    void forward(int64_t number) const {
        const int64_t C = s.channels, H = s.hidden;
        const int64_t first = number * tile, rows = std::min(tile, s.receivers * s.batch - first);
        Carved room{workspace(tile * (K * C + 3 * H + 2 * C + 4) * 4 + 1024)};
        Value* received = room.piece<Value>(tile * K * C);
        float* sum = room.piece<float>(tile * H);
        float* some = room.piece<float>(tile * H);
        float* change = room.piece<float>(tile * C);
        Value* active = room.piece<Value>(tile * H);
        uint32_t* left = room.piece<uint32_t>(tile * C);
        Row* which = room.piece<Row>(tile);

        const T* mine = receivers + first * C;
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t h = 0; h < H; h += LANES) store(sum + r * H + h, load(own_bias + h));
        product<U, false, true, true>(rows, H, C / P, left_side<U>(mine, rows * C, left), C / P, weights + matrix.own, sum, H);
        for (int64_t o = 0; o < s.octaves; ++o) {
            const Octave& octave = octaves[o];
            const int64_t count = rows_with_edges(octave.edges.start, octave.place, s, first, rows, which);
            if (count)
                mix(octave.edges, which, count, senders, C, s.vectors, weights + matrix.neighbours + o * matrix.each, H,
                    received, some, sum, H);
        }
        for (int64_t i = 0; i < rows * H; i += LANES) {
            const Floats x = load(sum + i);
            store(active + i, x * sigmoid(x));
            if (total) store(total + first * H + i, x);
        }
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < C; c += LANES) store(change + r * C + c, load(out_bias + c));
        product<U, false, true, true>(rows, C, H / P, (uint32_t*)active, H / P, weights + matrix.out, change, C);
        for (int64_t i = 0; i < rows * C; i += LANES) store(out + first * C + i, load(mine + i) + load(change + i));
    }

    void chunk(int64_t number) const {
        float* sum = sums_of_chunks + number * chunk_weights;
        const int64_t octave_weights = K * s.channels * s.hidden;
        memset(sum + s.octaves * octave_weights, 0, (chunk_weights - s.octaves * octave_weights) * sizeof(float));
        for (int64_t t = number * tiles_each; t < std::min(tiles(s.receivers), (number + 1) * tiles_each); ++t)
            receiver_tile(t, sum, touched + number * s.octaves);
    }

    // The gradients of the weights, of the sums before silu, and what vectors send back.
    void receiver_tile(int64_t number, float* sum, uint8_t* mine) const {
        const int64_t C = s.channels, H = s.hidden, KC = K * C, turned = s.turned();
        float* d_own = sum + s.octaves * KC * H;
        float* d_own_bias = d_own + H * C;
        float* d_out = d_own_bias + H;
        float* d_out_bias = d_out + C * H;
        const int64_t first = number * tile, rows = std::min(tile, s.receivers * s.batch - first);
        Carved room{workspace(tile * (2 * KC + 7 * H + 3 * C + 4) * 4 + 4096)};
        Value* received = room.piece<Value>(tile * KC);
        uint32_t* received_units = room.piece<uint32_t>((tile / P + 1) * KC);
        float* hidden = room.piece<float>(tile * H);  // gradient of silu(total), then of total
        Value* active = room.piece<Value>(tile * H);
        Value* g_rows = room.piece<Value>(tile * H);
        uint32_t* g_room = room.piece<uint32_t>((tile / P + 1) * H);
        Value* some_rows = room.piece<Value>(tile * H);
        uint32_t* some_units = room.piece<uint32_t>((tile / P + 1) * H);
        uint32_t* active_units = room.piece<uint32_t>((tile / P + 1) * H);
        uint32_t* units = room.piece<uint32_t>((tile / P + 1) * C);
        uint32_t* left = room.piece<uint32_t>(tile * C);
        Row* which = room.piece<Row>(tile);
        const int64_t row_units = (rows + P - 1) / P;

        const T* g = gradient + first * C;
        memset(hidden, 0, rows * H * sizeof(float));
        product<U, false, true, true>(rows, H, C / P, left_side<U>(g, rows * C, left), C / P, weights + matrix.out, hidden, H);
        for (int64_t i = 0; i < rows * H; i += LANES) {
            const Floats x = load(total + first * H + i), gate = sigmoid(x);
            store(active + i, x * gate);
            const Floats d = load(hidden + i) * gate * (splat(1.0f) + x * (splat(1.0f) - gate));
            store(hidden + i, d);
            store(g_rows + i, d);
            store(hidden_gradient + first * H + i, d);
        }
        product<U, true, false, true>(C, H, row_units, along_rows<U>(g, rows, C, units), C,
                                      along_rows<U>(active, rows, H, active_units), d_out, H);
        for (int64_t c = 0; c < C; c += LANES) {
            Floats bias = splat(0.0f);
            for (int64_t r = 0; r < rows; ++r) bias += load(g + r * C + c);
            store(d_out_bias + c, load(d_out_bias + c) + bias);
        }
        for (int64_t h = 0; h < H; h += LANES) {
            Floats bias = splat(0.0f);
            for (int64_t r = 0; r < rows; ++r) bias += load(hidden + r * H + h);
            store(d_own_bias + h, load(d_own_bias + h) + bias);
        }
        const uint32_t* g_units = along_rows<U>(g_rows, rows, H, g_room);
        product<U, true, false, true>(H, C, row_units, g_units, H, along_rows<U>(receivers + first * C, rows, C, units), d_own, C);

        T* back = vectors_back;
        for (int64_t o = 0; o < s.octaves; back += octaves[o++].count * s.batch * K * turned) {
            const Octave& octave = octaves[o];
            const int64_t count = rows_with_edges(octave.edges.start, octave.place, s, first, rows, which);
            if (count == 0) continue;
            const Value* some = g_rows;
            const uint32_t* right = g_units;
            if (count < rows) {
                for (int64_t n = 0; n < count; ++n) memcpy(some_rows + n * H, g_rows + which[n].at * H, H * sizeof(Value));
                some = some_rows, right = along_rows<U>(some_rows, count, H, some_units);
            }
            all_sums<K>(octave.edges, which, count, senders, s.batch, C, s.vectors, received);
            float* d_neighbours = sum + o * KC * H;
            if (!mine[o]) memset(d_neighbours, 0, KC * H * sizeof(float));
            mine[o] = 1;
            product<U, true, false, true>(KC, H, (count + P - 1) / P, along_rows<U>(received, count, KC, received_units), KC,
                                          right, d_neighbours, H);
            if (s.vectors == 0) continue;
            for (int64_t n = 0, m; n < count; n = m) {  // runs of rows whose places follow each other
                const auto to = [&](int64_t i) { return int64_t(which[i].place) * s.batch + which[i].batch; };
                for (m = n + 1; m < count && to(m) == to(n) + m - n;) ++m;
                product<U, false, true, false>(m - n, K * turned, H / P, (const uint32_t*)some + n * (H / P), H / P,
                                               weights + matrix.vectors + o * matrix.each_vectors, back + to(n) * K * turned,
                                               K * turned);
            }
        }
    }

    // gradient + U' (gradient of total), of a tile of receivers.
    void own_back(int64_t first, int64_t rows, uint32_t* left, float* sum) const {
        const int64_t C = s.channels, H = s.hidden;
        for (int64_t i = 0; i < rows * C; i += LANES) store(sum + i, load(gradient + first * C + i));
        product<U, false, true, true>(rows, C, H / P, left_side<U>(hidden_gradient + first * H, rows * H, left), H / P,
                                      weights + matrix.own, sum, C);
    }

    void own_tile(int64_t number) const {
        const int64_t first = number * tile, rows = std::min(tile, s.receivers * s.batch - first);
        Carved room{workspace(tile * (s.hidden + s.channels) * 4 + 1024)};
        float* sum = room.piece<float>(tile * s.channels);
        own_back(first, rows, room.piece<uint32_t>(tile * s.hidden), sum);
        for (int64_t i = 0; i < rows * s.channels; i += LANES) store(own_gradient + first * s.channels + i, load(sum + i));
    }

    // What a tile of senders gets back from its receivers, and where it is these itself, its own.
    void sender_tile(int64_t number) const {
        const int64_t C = s.channels, H = s.hidden, still = s.still();
        const int64_t first = number * tile, rows = std::min(tile, s.senders * s.batch - first);
        const int64_t turned = s.turned();
        Carved room{workspace(tile * (K * H + H + 2 * C + turned + 4) * 4 + 1024)};
        Value* received = room.piece<Value>(tile * K * H);
        float* sum = room.piece<float>(tile * C);
        float* some = room.piece<float>(tile * C);
        uint32_t* left = room.piece<uint32_t>(tile * H);
        float* across = room.piece<float>(tile * turned);
        Row* which = room.piece<Row>(tile);
        if (same) own_back(first, rows, left, sum);
        else memset(sum, 0, rows * C * sizeof(float));
        memset(across, 0, rows * turned * sizeof(float));
        const T* back = vectors_back;
        for (int64_t o = 0; o < s.octaves; back += octaves[o++].count * s.batch * K * turned) {
            const Octave& octave = octaves[o];
            const int64_t count = rows_with_edges(octave.back.start, nullptr, s, first, rows, which);
            if (count == 0) continue;
            mix(octave.back, which, count, hidden_gradient, H, 0, weights + matrix.neighbours + o * matrix.each, C - still,
                received, some, sum + still, C);
            if (turned) add_vectors_back<T, K>(octave, which, count, back, s.batch, turned, sum, C, across);
        }
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < turned; c += LANES)  // T' turns the other way than T: J' = -J
                store(sum + r * C + c, load(sum + r * C + c) - quarter_turn(across + r * turned, c, s.vectors));
        for (int64_t i = 0; i < rows * C; i += LANES) store(sender_gradient + first * C + i, load(sum + i));
    }
};

// Entry --------------------------------------------------------------------------------------------------------------

struct Call {  // as Python hands it over
    Sizes s;
    const int64_t* table;  // [octave, 18] an octave's count, where its lists begin [bytes], and more for a GPU
    const char *integers, *floats;
    const void *senders, *receivers;
    const uint32_t* weights;
    const float *own_bias, *out_bias;
    void *out, *total;
    const void* gradient;
    void *own_gradient, *sender_gradient, *hidden_gradient, *vectors_back;
    float *sums_of_chunks, *gradients[5];  // of the weights, in the order in which a chunk holds them
    int64_t chunks, tile, threads, half;
};

template <class U, class T, int K>
int run(const Call& call, bool back) {
    typedef Layer<U, T, K> L;
    const Sizes& s = call.s;
    const int64_t each[5] = {s.octaves * s.kernels * s.channels * s.hidden, s.channels * s.hidden, s.hidden,
                             s.channels * s.hidden, s.channels};
    const int64_t weights = each[0] + each[1] + each[2] + each[3] + each[4];
    const std::unique_ptr<Octave[]> octaves(new Octave[s.octaves]);
    for (int64_t o = 0; o < s.octaves; ++o) {
        const int64_t* at = call.table + 18 * o;
        const auto list = [&](int64_t i) { return (const int32_t*)(call.integers + at[i]); };
        const auto weights = [&](int64_t i) { return (const float*)(call.floats + at[i]); };
        const auto edges = [&](int64_t i) {
            return Edges{list(i), list(i + 1), weights(i + 2), (const uint32_t*)list(i + 3)};
        };
        octaves[o] = {at[0], list(1), edges(2), edges(6), list(10)};
    }
    const std::unique_ptr<uint8_t[]> touched(new uint8_t[call.chunks * s.octaves + 1]());
    L layer{s, octaves.get(), (const T*)call.senders, (const T*)call.receivers, call.weights,
            Matrices(s, back, U::PER_UNIT), call.own_bias, call.out_bias, call.tile, (T*)call.out, (T*)call.total,
            (const T*)call.gradient, (T*)call.own_gradient, (T*)call.sender_gradient, (T*)call.hidden_gradient,
            (T*)call.vectors_back, call.sums_of_chunks, touched.get(), weights, 0,
            call.own_gradient == call.sender_gradient};
    const auto run = [&](int64_t tasks, Task task) { meshcast_run(tasks, call.threads, task, &layer); };
    const int64_t tiles = layer.tiles(s.receivers);
    if (!back) {
        run(tiles, [](void* at, int64_t n) { ((const L*)at)->forward(n); });
        return 0;
    }
    layer.tiles_each = (tiles + call.chunks - 1) / call.chunks;
    run(call.chunks, [](void* at, int64_t n) { ((const L*)at)->chunk(n); });
    if (!layer.same) run(tiles, [](void* at, int64_t n) { ((const L*)at)->own_tile(n); });
    run(layer.tiles(s.senders), [](void* at, int64_t n) { ((const L*)at)->sender_tile(n); });
    const float* from = call.sums_of_chunks;
    for (int64_t o = 0; o < s.octaves + 4; ++o) {  // an octave's weights, or one of the other arrays
        const int64_t size = o < s.octaves ? each[0] / s.octaves : each[o - s.octaves + 1];
        float* to = o < s.octaves ? call.gradients[0] + o * size : call.gradients[o - s.octaves + 1];
        bool some = false;
        for (int64_t n = 0; n < call.chunks; ++n) {
            if (o < s.octaves && !touched[n * s.octaves + o]) continue;
            const float* of = from + n * weights;
            if (some) for (int64_t i = 0; i < size; ++i) to[i] += of[i];
            else memcpy(to, of, size * sizeof(float));
            some = true;
        }
        if (!some) memset(to, 0, size * sizeof(float));
        from += size;
    }
    return 0;
}

template <class U, class T>
int with_kernels(const Call& call, bool back) {
    switch (call.s.kernels) {
        case 3: return run<U, T, 3>(call, back);
        case 5: return run<U, T, 5>(call, back);
        case 7: return run<U, T, 7>(call, back);
    }
    return 1;
}

int entry(const Call& call, bool back) {
    if (!call.half) return with_kernels<Single, float>(call, back);
#if ISA >= 3
    return with_kernels<Pairs, bfloat16>(call, back);
#else
    return with_kernels<Single, bfloat16>(call, back);
#endif
}

}  // namespace

EXPORT int NAMED(meshcast_forward_, ISA)(const Call* call) { return entry(*call, false); }
EXPORT int NAMED(meshcast_backward_, ISA)(const Call* call) { return entry(*call, true); }

// Pack the weights at `to`; return how many units of 32 bits they take, and where `to` is null do no more.
EXPORT int64_t NAMED(meshcast_pack_, ISA)(const Sizes* s, int64_t half, const float* neighbours, const float* own,
                                          const float* out, int64_t back, uint32_t* to) {
#if ISA >= 3
    if (half) {
        if (to) pack<Pairs>(*s, neighbours, own, out, back, to);
        return Matrices(*s, back, 2).end;
    }
#endif
    if (to) pack<Single>(*s, neighbours, own, out, back, to);
    return Matrices(*s, back, 1).end;
}
