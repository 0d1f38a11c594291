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
// The file is compiled once for each instruction set (ISA: 0 plain, 1 AVX2, 2 AVX-512 with bfloat16), for whose vectors
// the GNU extensions of GCC and Clang stand. Matrix products take their operands in units of 32 bits: one number in
// single precision, two neighbours along the sum in bfloat16 (only where the processor multiplies such pairs).

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#ifndef ISA
#define ISA 0
#endif
#if ISA == 2
#include <immintrin.h>
#endif

#define UNROLL _Pragma("GCC unroll 32")
#define JOINED(a, b) a##b
#define NAMED(name, isa) JOINED(name, isa)
#define EXPORT extern "C" __attribute__((visibility("default")))

typedef void (*Task)(void* context, int64_t number);
extern "C" void meshcast_run(int64_t tasks, int64_t threads, Task task, void* context);  // in threads.cpp

namespace {

constexpr int LANES = ISA == 2 ? 16 : ISA == 1 ? 8 : 4;
constexpr int WIDE = ISA == 2 ? 4 : 2;  // vectors of columns that a product or a sum holds in registers
constexpr int TALL = 6;                 // and rows of a product
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
    Halves h;
    memcpy(&h, from, sizeof h);
    return (Floats)(__builtin_convertvector(h, Bits) << 16);
}

inline Halves rounded(Floats v) {  // to the nearest, ties to even
#if ISA == 2
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
#if ISA == 2
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
};

#if ISA == 2
struct Pairs {
    typedef bfloat16 Value;
    static constexpr int PER_UNIT = 2;
    static inline __m512i operand(const uint32_t* b) { return _mm512_loadu_si512(b); }
    static inline Floats add(Floats sum, uint32_t a, __m512i b) {
        return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(int(a)), (__m512bh)b);
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
inline void columns(int64_t rows, int64_t units, const uint32_t* a, int64_t a_step, const uint32_t* b, int64_t b_step,
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

// out [rows, width] = or += a b. b is [unit][width], or where PANELS in panels of up to WIDE vectors, one after another.
template <class U, bool ACROSS, bool PANELS, bool ADD, class T>
void product(int64_t rows, int64_t width, int64_t units, const uint32_t* a, int64_t a_step, const uint32_t* b, T* out,
             int64_t out_step) {
    for (int64_t n = 0; n < width; n += WIDE * LANES) {
        const int64_t wide = std::min<int64_t>(WIDE * LANES, width - n), b_step = PANELS ? wide : width;
        const uint32_t* panel = PANELS ? b + n * units : b + n;
        for (int64_t p = 0; p < units; p += ADD ? STEP : units) {
            const int64_t some = ADD ? std::min<int64_t>(STEP, units - p) : units;
            const uint32_t* left = a + p * (ACROSS ? a_step : 1);
            const uint32_t* right = panel + p * b_step;
            switch (wide / LANES) {
                case 1: columns<U, 1, ACROSS, ADD>(rows, some, left, a_step, right, b_step, out + n, out_step); break;
                case 2: columns<U, 2, ACROSS, ADD>(rows, some, left, a_step, right, b_step, out + n, out_step); break;
#if ISA == 2
                case 3: columns<U, 3, ACROSS, ADD>(rows, some, left, a_step, right, b_step, out + n, out_step); break;
                case 4: columns<U, 4, ACROSS, ADD>(rows, some, left, a_step, right, b_step, out + n, out_step); break;
#endif
            }
        }
    }
}

// Weights as panels of a product's right side: element (p, n) of the matrix stands at from[p * p_step + n * n_step].
template <class U>
uint32_t* packed(const float* from, int64_t length, int64_t width, int64_t p_step, int64_t n_step, uint32_t* to) {
    const int64_t units = length / U::PER_UNIT;
    for (int64_t n = 0; n < width; n += WIDE * LANES) {
        const int64_t wide = std::min<int64_t>(WIDE * LANES, width - n);
        for (int64_t p = 0; p < units; ++p)
            for (int64_t i = 0; i < wide; ++i) {
                const float* x = from + p * U::PER_UNIT * p_step + (n + i) * n_step;
                uint32_t unit;
                if constexpr (U::PER_UNIT == 1) {
                    memcpy(&unit, x, 4);
                } else {
                    uint32_t low, high;
                    memcpy(&low, x, 4);
                    memcpy(&high, x + p_step, 4);
                    low = (low + 0x7fffu + ((low >> 16) & 1u)) >> 16;
                    high = (high + 0x7fffu + ((high >> 16) & 1u)) & 0xffff0000u;
                    unit = low | high;
                }
                to[p * wide + i] = unit;
            }
        to += units * wide;
    }
    return to;
}

// Sums over edges ----------------------------------------------------------------------------------------------------

struct Octave {  // as Python hands it over, each field 8 bytes
    int64_t count;               // receivers that it reaches
    const int32_t* place;        // [receiver] which of these a receiver is, -1 where it is none
    const int32_t* start;        // [count + 1] each one's first edge
    const int32_t* sender;       // [edge]
    const float* weights;        // [edge, K + 2] kernels, cosine and sine of the turn
    const int32_t* back_start;   // [sender + 1] each sender's first edge in the lists below
    const int32_t* back_place;   // [edge] which of the octave's receivers it leads to
    const float* back_weights;   // [edge, K + 2]
};

struct Sizes {  // as Python hands it over
    int64_t senders, receivers, batch, channels, hidden, vectors, octaves, kernels;
};

template <class T, int K, int N, class Emit>
inline void sums(const Octave& octave, int64_t place, const T* values, int64_t batch, int64_t b, int64_t channels,
                 int64_t c, int64_t vectors, Emit emit) {
    Floats sum[K][N];
    UNROLL for (int k = 0; k < K; ++k) UNROLL for (int j = 0; j < N; ++j) sum[k][j] = splat(0.0f);
    const int32_t end = octave.start[place + 1];
    for (int32_t e = octave.start[place]; e < end; ++e) {
        const T* row = values + (int64_t(octave.sender[e]) * batch + b) * channels;
        const float* weights = octave.weights + int64_t(e) * (K + 2);
        Floats x[N];
        UNROLL for (int j = 0; j < N; ++j) {
            x[j] = load(row + c + j * LANES);
            if (c + j * LANES < 2 * vectors)
                x[j] = x[j] * cosine_or_one(weights[K], c + j * LANES, vectors) +
                       quarter_turn(row, c + j * LANES, vectors) * splat(weights[K + 1]);
        }
        UNROLL for (int k = 0; k < K; ++k) {
            const Floats weight = splat(weights[k]);
            UNROLL for (int j = 0; j < N; ++j) sum[k][j] += weight * x[j];
        }
    }
    UNROLL for (int k = 0; k < K; ++k) UNROLL for (int j = 0; j < N; ++j) emit(k * channels + c + j * LANES, sum[k][j]);
}

// All of one row's sums: emit(k * channels + c, vector) for all k and c.
template <class T, int K, class Emit>
inline void row_of_sums(const Octave& octave, int64_t place, const T* values, const Sizes& s, int64_t b, Emit emit) {
    int64_t c = 0;
    for (; c + WIDE * LANES <= s.channels; c += WIDE * LANES)
        sums<T, K, WIDE>(octave, place, values, s.batch, b, s.channels, c, s.vectors, emit);
    for (; c < s.channels; c += LANES) sums<T, K, 1>(octave, place, values, s.batch, b, s.channels, c, s.vectors, emit);
}

// What flows back to a sender: + sum_e T_e' sum_k phi_k(e) y_k of its receivers, y [place, batch, K, channel].
template <class T, int K, int N>
inline void back_sums(const Octave* octaves, const Sizes& s, int64_t sender, int64_t b, int64_t c, const T* sent_back,
                      Floats* sum, Floats* turned) {
    const bool turning = c < 2 * s.vectors;
    for (int64_t o = 0; o < s.octaves; ++o) {
        const Octave& octave = octaves[o];
        const int32_t end = octave.back_start[sender + 1];
        for (int32_t e = octave.back_start[sender]; e < end; ++e) {
            const T* y = sent_back + (int64_t(octave.back_place[e]) * s.batch + b) * K * s.channels + c;
            const float* weights = octave.back_weights + int64_t(e) * (K + 2);
            if (!turning) {
                UNROLL for (int k = 0; k < K; ++k) {
                    const Floats weight = splat(weights[k]);
                    UNROLL for (int j = 0; j < N; ++j) sum[j] += weight * load(y + k * s.channels + j * LANES);
                }
                continue;
            }
            Floats t[N];
            UNROLL for (int j = 0; j < N; ++j) t[j] = splat(0.0f);
            UNROLL for (int k = 0; k < K; ++k) {
                const Floats weight = splat(weights[k]);
                UNROLL for (int j = 0; j < N; ++j) t[j] += weight * load(y + k * s.channels + j * LANES);
            }
            UNROLL for (int j = 0; j < N; ++j) {
                sum[j] += t[j] * cosine_or_one(weights[K], c + j * LANES, s.vectors);
                turned[j] += t[j] * splat(weights[K + 1]);
            }
        }
        sent_back += octave.count * s.batch * K * s.channels;
    }
}

template <class T, int K>
inline void row_sent_back(const Octave* octaves, const Sizes& s, int64_t sender, int64_t b, const T* sent_back, bool add,
                          T* gradient, float* straight, float* across) {
    const auto some = [&](auto width, int64_t c) {
        constexpr int N = decltype(width)::value;
        Floats sum[N], turned[N];
        UNROLL for (int j = 0; j < N; ++j) {
            sum[j] = add ? load(gradient + c + j * LANES) : splat(0.0f);
            turned[j] = splat(0.0f);
        }
        back_sums<T, K, N>(octaves, s, sender, b, c, sent_back, sum, turned);
        UNROLL for (int j = 0; j < N; ++j) {
            if (c < 2 * s.vectors) {
                store(straight + c + j * LANES, sum[j]);
                store(across + c + j * LANES, turned[j]);
            } else {
                store(gradient + c + j * LANES, sum[j]);
            }
        }
    };
    int64_t c = 0;
    for (; c + WIDE * LANES <= s.channels; c += WIDE * LANES) some(std::integral_constant<int, WIDE>{}, c);
    for (; c < s.channels; c += LANES) some(std::integral_constant<int, 1>{}, c);
    const int64_t wide = WIDE * LANES, whole = s.channels / wide * wide;
    int64_t turning = std::min(s.channels, (2 * s.vectors + LANES - 1) / LANES * LANES);  // blocks that went aside
    turning = std::min(whole, (turning + wide - 1) / wide * wide) + std::max<int64_t>(0, turning - whole);
    if (s.vectors == 0) turning = 0;
    for (c = 0; c < turning; c += LANES)  // T' turns the other way: J' = -J
        store(gradient + c, load(straight + c) - quarter_turn(across, c, s.vectors));
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

// The rows of a tile that an octave reaches, by their place in the tile; returns how many.
inline int64_t reached(const Octave& octave, const Sizes& s, int64_t first, int64_t rows, int32_t* which) {
    int64_t count = 0, node = first / s.batch, b = first % s.batch;
    for (int64_t r = 0; r < rows; ++r) {
        which[count] = int32_t(r);
        count += octave.place[node] >= 0;
        if (++b == s.batch) b = 0, ++node;
    }
    return count;
}

// Rows [row][channel] as units along the rows, [row / PER_UNIT][channel]; a row that lacks its partner stands with zeros.
template <class U, class T>
inline void units_along_rows(const T* from, int64_t rows, int64_t width, uint32_t* to) {
    for (int64_t r = 0; r < rows; ++r) {
        uint32_t* unit = to + r / U::PER_UNIT * width;
        for (int64_t c = 0; c < width; c += LANES) {
            if constexpr (U::PER_UNIT == 1) {
                store((float*)unit + c, load(from + r * width + c));
            } else {
                Bits bits = (Bits)load(from + r * width + c);
                if constexpr (sizeof(T) == 4) bits = __builtin_convertvector(rounded((Floats)bits), Bits) << 16;
                if (r % 2 == 0) {
                    bits >>= 16;
                } else {
                    Bits low;
                    memcpy(&low, unit + c, sizeof low);
                    bits |= low;
                }
                memcpy(unit + c, &bits, sizeof bits);
            }
        }
    }
}

template <class U>
struct Weights {  // packed by `meshcast_pack`, for the forward pass or, transposed, for the backward one
    const uint32_t *neighbours, *own, *out;
    int64_t octave_units;

    Weights(const uint32_t* at, const Sizes& s) {
        const int64_t each = s.channels * s.hidden / U::PER_UNIT;
        octave_units = s.kernels * each;
        neighbours = at;
        own = neighbours + s.octaves * octave_units;
        out = own + each;
    }
};

template <class U>
void pack(const Sizes& s, const float* neighbours, const float* own, const float* out, bool back, uint32_t* to) {
    const int64_t C = s.channels, H = s.hidden, KC = s.kernels * C;
    if (!back) {
        for (int64_t o = 0; o < s.octaves; ++o) to = packed<U>(neighbours + o * KC * H, KC, H, H, 1, to);
        to = packed<U>(own, C, H, 1, C, to);
        packed<U>(out, H, C, 1, H, to);
        return;
    }
    for (int64_t o = 0; o < s.octaves; ++o) to = packed<U>(neighbours + o * KC * H, H, KC, 1, H, to);
    to = packed<U>(own, H, C, C, 1, to);
    packed<U>(out, C, H, H, 1, to);
}

// Rows as a product's left side: themselves where they are in the product's precision already.
template <class U, class T>
inline const uint32_t* left_side(const T* rows, int64_t count, uint32_t* room) {
    if constexpr (std::is_same_v<T, typename U::Value>) return (const uint32_t*)rows;
    for (int64_t i = 0; i < count; i += LANES) store((typename U::Value*)room + i, load(rows + i));
    return room;
}

template <class U, class T, int K>
struct Layer {
    typedef typename U::Value Value;
    Sizes s;
    const Octave* octaves;
    const T *senders, *receivers;
    Weights<U> weights;
    const float *own_bias, *out_bias;

    // Forward.
    T *out, *total_kept;
    int64_t tile;

    void forward(int64_t number) const {
        const int64_t C = s.channels, H = s.hidden, KC = K * C;
        const int64_t first = number * tile, rows = std::min(tile, s.receivers * s.batch - first);
        Carved room{workspace(tile * (KC + 2 * H + 2 * C + H + 1) * 4 + 1024)};
        Value* received = room.piece<Value>(tile * KC);
        float* total = room.piece<float>(tile * H);
        float* some = room.piece<float>(tile * H);
        float* change = room.piece<float>(tile * C);
        Value* active = room.piece<Value>(tile * H);
        uint32_t* left = room.piece<uint32_t>(tile * C);
        int32_t* which = room.piece<int32_t>(tile);

        const T* mine = receivers + first * C;
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t h = 0; h < H; h += LANES) store(total + r * H + h, load(own_bias + h));
        product<U, false, true, true>(rows, H, C / U::PER_UNIT, left_side<U>(mine, rows * C, left), C / U::PER_UNIT,
                                      weights.own, total, H);
        for (int64_t o = 0; o < s.octaves; ++o) {
            const Octave& octave = octaves[o];
            const int64_t count = reached(octave, s, first, rows, which);
            if (count == 0) continue;
            for (int64_t n = 0; n < count; ++n) {
                const int64_t row = first + which[n], node = row / s.batch;
                Value* to = received + n * KC;
                row_of_sums<T, K>(octave, octave.place[node], senders, s, row % s.batch,
                                  [to](int64_t at, Floats sum) { store(to + at, sum); });
            }
            const bool together = which[count - 1] - which[0] + 1 == count;
            float* into = together ? total + which[0] * H : some;
            const uint32_t* mixing = weights.neighbours + o * weights.octave_units;
            if (!together) memset(some, 0, count * H * 4);
            product<U, false, true, true>(count, H, KC / U::PER_UNIT, (uint32_t*)received, KC / U::PER_UNIT, mixing, into, H);
            if (!together)
                for (int64_t n = 0; n < count; ++n)
                    for (int64_t h = 0; h < H; h += LANES)
                        store(total + which[n] * H + h, load(total + which[n] * H + h) + load(some + n * H + h));
        }
        for (int64_t i = 0; i < rows * H; i += LANES) {
            const Floats x = load(total + i);
            store(active + i, x * sigmoid(x));
            if (total_kept) store(total_kept + first * H + i, x);
        }
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < C; c += LANES) store(change + r * C + c, load(out_bias + c));
        product<U, false, true, true>(rows, C, H / U::PER_UNIT, (uint32_t*)active, H / U::PER_UNIT, weights.out, change, C);
        for (int64_t i = 0; i < rows * C; i += LANES) store(out + first * C + i, load(mine + i) + load(change + i));
    }

    // Backward.
    const T *total, *gradient;
    T *own_gradient, *sender_gradient, *sent_back;
    float* sums_of_chunks;  // [chunk, weight]
    int64_t chunk_weights, tiles_each, nodes_each;
    bool same;

    void chunk(int64_t number) const {
        float* sum = sums_of_chunks + number * chunk_weights;
        memset(sum, 0, chunk_weights * sizeof(float));
        const int64_t tiles = (s.receivers * s.batch + tile - 1) / tile;
        for (int64_t t = number * tiles_each; t < std::min(tiles, (number + 1) * tiles_each); ++t) back_tile(t, sum);
    }

    void back_tile(int64_t number, float* sum) const {
        const int64_t C = s.channels, H = s.hidden, KC = K * C, P = U::PER_UNIT;
        float* d_neighbours = sum;
        float* d_own = d_neighbours + s.octaves * KC * H;
        float* d_own_bias = d_own + H * C;
        float* d_out = d_own_bias + H;
        float* d_out_bias = d_out + C * H;
        const int64_t first = number * tile, rows = std::min(tile, s.receivers * s.batch - first);
        Carved room{workspace(tile * (KC + 7 * H + 5 * C + 2) * 4 + 4096)};
        uint32_t* received = room.piece<uint32_t>((tile / P + 1) * KC);
        float* hidden = room.piece<float>(tile * H);  // gradients of silu(total), then of total
        float* change = room.piece<float>(tile * C);
        Value* g_rows = room.piece<Value>(tile * H);
        uint32_t* g_units = room.piece<uint32_t>((tile / P + 1) * H);
        Value* some_rows = room.piece<Value>(tile * H);
        uint32_t* some_units = room.piece<uint32_t>((tile / P + 1) * H);
        float* active = room.piece<float>(tile * H);
        uint32_t* active_units = room.piece<uint32_t>((tile / P + 1) * H);
        uint32_t* units = room.piece<uint32_t>((tile / P + 1) * C);
        uint32_t* left = room.piece<uint32_t>(tile * C);
        int32_t* which = room.piece<int32_t>(tile);
        const int64_t row_units = (rows + P - 1) / P;

        const T* g = gradient + first * C;
        memset(hidden, 0, rows * H * 4);
        product<U, false, true, true>(rows, H, C / P, left_side<U>(g, rows * C, left), C / P, weights.out, hidden, H);
        for (int64_t i = 0; i < rows * H; i += LANES) {
            const Floats x = load(total + first * H + i), gate = sigmoid(x);
            store(active + i, x * gate);
            const Floats d = load(hidden + i) * gate * (splat(1.0f) + x * (splat(1.0f) - gate));
            store(hidden + i, d);
            store(g_rows + i, d);
        }
        units_along_rows<U>(g, rows, C, units);
        units_along_rows<U>(active, rows, H, active_units);
        product<U, true, false, true>(C, H, row_units, units, C, active_units, d_out, H);
        for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < C; c += LANES) store(d_out_bias + c, load(d_out_bias + c) + load(g + r * C + c));
            for (int64_t h = 0; h < H; h += LANES) store(d_own_bias + h, load(d_own_bias + h) + load(hidden + r * H + h));
        }
        units_along_rows<U>(g_rows, rows, H, g_units);
        units_along_rows<U>(receivers + first * C, rows, C, units);
        product<U, true, false, true>(H, C, row_units, g_units, H, units, d_own, C);
        for (int64_t i = 0; i < rows * C; i += LANES) store(change + i, load(g + i));
        product<U, false, true, true>(rows, C, H / P, (uint32_t*)g_rows, H / P, weights.own, change, C);
        for (int64_t i = 0; i < rows * C; i += LANES) store(own_gradient + first * C + i, load(change + i));

        T* back = sent_back;
        for (int64_t o = 0; o < s.octaves; ++o) {
            const Octave& octave = octaves[o];
            const int64_t count = reached(octave, s, first, rows, which);
            const uint32_t *g_left = (uint32_t*)g_rows, *g_right = g_units;
            if (count && count < rows) {
                for (int64_t n = 0; n < count; ++n) memcpy(some_rows + n * H, g_rows + which[n] * H, H * sizeof(Value));
                units_along_rows<U>(some_rows, count, H, some_units);
                g_left = (uint32_t*)some_rows, g_right = some_units;
            }
            for (int64_t n = 0; n < count; ++n) {
                const int64_t row = first + which[n], node = row / s.batch;
                uint32_t* to = received + n / P * KC;
                row_of_sums<T, K>(octave, octave.place[node], senders, s, row % s.batch, [to, n](int64_t at, Floats v) {
                    if constexpr (P == 1) {
                        store((float*)to + at, v);
                    } else {
                        Bits bits = __builtin_convertvector(rounded(v), Bits);
                        if (n % 2) {
                            Bits low;
                            memcpy(&low, to + at, sizeof low);
                            bits = low | bits << 16;
                        }
                        memcpy(to + at, &bits, sizeof bits);
                    }
                });
            }
            if (count) {
                product<U, true, false, true>(KC, H, (count + P - 1) / P, received, KC, g_right, d_neighbours + o * KC * H, H);
                // Consecutive rows of a tile have consecutive places, or places of their own.
                for (int64_t n = 0; n < count;) {
                    const int64_t row = first + which[n], at = octave.place[row / s.batch] * s.batch + row % s.batch;
                    int64_t m = n + 1;
                    for (; m < count; ++m) {
                        const int64_t next = first + which[m];
                        if (octave.place[next / s.batch] * s.batch + next % s.batch != at + m - n) break;
                    }
                    product<U, false, true, false>(m - n, KC, H / P, g_left + n * (H / P), H / P,
                                                   weights.neighbours + o * weights.octave_units, back + at * KC, KC);
                    n = m;
                }
            }
            back += octave.count * s.batch * KC;
        }
    }

    void spread(int64_t number) const {  // from receivers to senders
        Carved room{workspace((s.channels + 2 * LANES) * 8 + 1024)};
        float* straight = room.piece<float>(s.channels);
        float* across = room.piece<float>(s.channels);
        const int64_t first = number * nodes_each;
        for (int64_t node = first; node < std::min(s.senders, first + nodes_each); ++node)
            for (int64_t b = 0; b < s.batch; ++b)
                row_sent_back<T, K>(octaves, s, node, b, sent_back, same,
                                    sender_gradient + (node * s.batch + b) * s.channels, straight, across);
    }
};

// Entry --------------------------------------------------------------------------------------------------------------

struct Call {  // as Python hands it over
    Sizes s;
    const Octave* octaves;
    const void *senders, *receivers;
    const uint32_t* weights;
    const float *own_bias, *out_bias;
    void *out, *total;
    const void* gradient;
    void *own_gradient, *sender_gradient, *sent_back;
    float *sums_of_chunks, *gradients[5];  // of the weights, in the order in which a chunk holds them
    int64_t chunks, tile, threads, half;
};

template <class U, class T, int K>
int run(const Call& call, bool back) {
    const Sizes& s = call.s;
    Layer<U, T, K> layer{s, call.octaves, (const T*)call.senders, (const T*)call.receivers, Weights<U>(call.weights, s),
                         call.own_bias, call.out_bias, (T*)call.out, (T*)call.total, call.tile,
                         (const T*)call.total, (const T*)call.gradient, (T*)call.own_gradient,
                         (T*)call.sender_gradient, (T*)call.sent_back, call.sums_of_chunks, 0, 0, 0,
                         call.own_gradient == call.sender_gradient};
    typedef Layer<U, T, K> L;
    const int64_t tiles = (s.receivers * s.batch + call.tile - 1) / call.tile;
    if (!back) {
        meshcast_run(tiles, call.threads, [](void* at, int64_t n) { ((const L*)at)->forward(n); }, &layer);
        return 0;
    }
    const int64_t count = s.octaves * s.kernels * s.channels * s.hidden + 2 * s.channels * s.hidden + s.channels + s.hidden;
    layer.chunk_weights = count;
    layer.tiles_each = (tiles + call.chunks - 1) / call.chunks;
    layer.nodes_each = std::max<int64_t>(1, 256 / s.batch);
    meshcast_run(call.chunks, call.threads, [](void* at, int64_t n) { ((const L*)at)->chunk(n); }, &layer);
    const int64_t spreads = (s.senders + layer.nodes_each - 1) / layer.nodes_each;
    meshcast_run(spreads, call.threads, [](void* at, int64_t n) { ((const L*)at)->spread(n); }, &layer);
    const int64_t each[5] = {s.octaves * s.kernels * s.channels * s.hidden, s.channels * s.hidden, s.hidden,
                             s.channels * s.hidden, s.channels};
    const float* from = call.sums_of_chunks;
    for (int64_t which = 0; which < 5; from += each[which++])
        for (int64_t i = 0; i < each[which]; ++i) {
            float sum = from[i];
            for (int64_t n = 1; n < call.chunks; ++n) sum += from[n * count + i];
            call.gradients[which][i] = sum;
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
#if ISA == 2
    return with_kernels<Pairs, bfloat16>(call, back);
#else
    return with_kernels<Single, bfloat16>(call, back);
#endif
}

}  // namespace

EXPORT int NAMED(meshcast_forward_, ISA)(const Call* call) { return entry(*call, false); }
EXPORT int NAMED(meshcast_backward_, ISA)(const Call* call) { return entry(*call, true); }

EXPORT int NAMED(meshcast_pack_, ISA)(const Sizes* s, int64_t half, const float* neighbours, const float* own,
                                      const float* out, int64_t back, uint32_t* to) {
#if ISA == 2
    if (half) {
        pack<Pairs>(*s, neighbours, own, out, back, to);
        return 0;
    }
#endif
    pack<Single>(*s, neighbours, own, out, back, to);
    return 0;
}
