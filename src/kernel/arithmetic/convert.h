// PCM samples -> float32, one channel or the mean of all; and a copy that bypasses the caches.
//
// Guarantees: nothing here allocates, locks or needs Python. Every function may be called from any number
// of threads at once, because it touches only its arguments.
#pragma once
#include <cstdint>

namespace headrace {

// In place of a channel's index: the mean of all channels, added in channel order.
constexpr int MIX = -1;

// Convert `frames` frames of interleaved PCM to float32: one channel, or MIX. Integers are scaled by 2^-15
// (int16) or 2^-31 (int32). Return whether every result is finite.
template <typename Sample>
bool convert(const Sample* pcm, int64_t frames, int channels, int channel, float* out);

// Copy `count` floats to memory that will not be read again soon. It bypasses the caches, which halves the
// memory traffic: the overwritten lines need not be fetched first. Other threads see the copy after this
// returns, as they do after any copy.
void copy_past_caches(const float* from, int64_t count, float* to);
// Convert mono samples to floats that are written likewise: a third faster than by a block in between.
void convert_past_caches(const int16_t* pcm, int64_t count, float* to);

}  // namespace headrace
