#include "sources/flac_file.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "sources/flac_bits.h"

namespace headrace {
namespace {

constexpr int64_t READ = 64 << 10;   // bytes read from the system at a time, while decoding in order
constexpr int64_t PROBE = 16 << 10;  // the same, while searching for a frame
constexpr int64_t KNOWN = 256;       // parts of a file, in each of which the place of one frame is kept
constexpr int MOST_BLOCK = 16384;    // samples in a frame: the most that the format recommends
constexpr int MOST_METADATA = 1024;  // blocks; a tagged file has a few
constexpr int INTERPOLATED = 12;     // guesses by the mean bitrate, before bisection
constexpr int SEEKTABLE = 3;         // the type of its metadata block
constexpr int64_t POINT = 18;        // bytes of each point in it
constexpr int LEAST_FRAME = 10;      // bytes: one channel of a constant

// The begin of a FLAC stream, but for whether STREAMINFO is its only metadata.
constexpr unsigned char MARK[] = {'f', 'L', 'a', 'C'}, INFO[] = {0, 0, 34};
constexpr int64_t MARK_BYTES = 8;

int64_t number(const unsigned char* p, int bytes) {
  int64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | p[i];
  return value;
}

// Channels one after the other -> interleaved, left-aligned samples.
template <typename Sample>
void interleave(const int32_t* planes, int64_t stride, int channels, int shift, int64_t count,
                Sample* to) {
  const auto aligned = [shift](int32_t value) {
    return static_cast<Sample>(static_cast<uint32_t>(value) << shift);
  };
  if (channels == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = aligned(planes[i]);
  } else if (channels == 2) {
    for (int64_t i = 0; i < count; ++i) {
      to[2 * i] = aligned(planes[i]);
      to[2 * i + 1] = aligned(planes[stride + i]);
    }
  } else {
    for (int c = 0; c < channels; ++c)
      for (int64_t i = 0; i < count; ++i) to[i * channels + c] = aligned(planes[c * stride + i]);
  }
}

}  // namespace

FlacFile::FlacFile(std::unique_ptr<Bytes> bytes)
    : bytes_(std::move(bytes)), size_(bytes_->size()), buffer_(PROBE + BITS_PADDING), known_(KNOWN) {}

std::unique_ptr<FlacFile> FlacFile::measure(std::unique_ptr<Bytes> bytes) {
  std::unique_ptr<FlacFile> file(new FlacFile(std::move(bytes)));
  return file->parse() && file->measure_frames() ? std::move(file) : nullptr;
}

std::unique_ptr<FlacFile> FlacFile::believe(std::unique_ptr<Bytes> bytes) {
  std::unique_ptr<FlacFile> file(new FlacFile(std::move(bytes)));
  if (!file->parse()) return nullptr;
  if (!file->can_hold_declared()) return file->measure_frames() ? std::move(file) : nullptr;
  file->limit(file->declared_);
  return file;
}

// Whether the frames that the header declares can be as many bytes as there are: no bytes are read for that.
bool FlacFile::can_hold_declared() const {
  if (declared_ == 0 || base_ != 0 || start_.stop == start_.first) return false;
  const int64_t blocks = (declared_ + stream_.block - 1) / stream_.block;
  const int64_t bytes = size_ - start_.offset;
  // The last frame may be shorter than the shortest that is declared.
  return bytes >= (blocks - 1) * std::max<int64_t>(LEAST_FRAME, smallest_) && bytes <= blocks * most_bytes_;
}

std::unique_ptr<FlacFile> FlacFile::open(std::unique_ptr<Bytes> bytes, int64_t frames, int64_t end) {
  std::unique_ptr<FlacFile> file(new FlacFile(std::move(bytes)));
  if (frames < 1 || frames > FLAC_UNKNOWN / 2 || end < 0 || end > file->size_) return nullptr;
  file->end_ = end;
  if (end > 0) file->size_ = end;
  if (!file->parse()) return nullptr;
  file->limit(file->base_ + frames);
  return file;
}

// The samples end before the one of this number.
void FlacFile::limit(int64_t stop) {
  stream_.stop = stop;
  position_ = base_;
  block_ = {base_, base_, start_.offset, start_.offset};
}

bool FlacFile::parse() {
  const unsigned char* p;
  if (fetch(0, 42, PROBE, &p) < 42 || std::memcmp(p, "fLaC", 4) != 0) return false;
  if ((p[4] & 0x7F) != 0 || number(p + 5, 3) != 34) return false;
  bool last = p[4] & 0x80;
  const unsigned char* info = p + 8;
  const int64_t least_block = number(info, 2), largest_frame = number(info + 7, 3);
  const int64_t smallest_frame = std::max<int64_t>(LEAST_FRAME, number(info + 4, 3));
  smallest_ = number(info + 4, 3);
  stream_.block = static_cast<int>(number(info + 2, 2));
  stream_.sample_rate = static_cast<int>(number(info + 10, 3) >> 4);
  stream_.channels = (info[12] >> 1 & 7) + 1;
  stream_.bits = ((info[12] & 1) << 4 | info[13] >> 4) + 1;
  declared_ = number(info + 13, 5) & 0xFFFFFFFFF;
  stream_.stop = FLAC_UNKNOWN;
  if (stream_.block < 16 || stream_.block > MOST_BLOCK || least_block > stream_.block ||
      stream_.sample_rate == 0 || (stream_.bits != 8 && stream_.bits != 16 && stream_.bits != 24))
    return false;
  int64_t at = 42;
  for (int n = 0; !last; ++n) {
    if (n == MOST_METADATA || fetch(at, 4, PROBE, &p) < 4 || (p[0] & 0x7F) == 0x7F) return false;
    last = p[0] & 0x80;
    if ((p[0] & 0x7F) == SEEKTABLE) {
      table_ = at + 4;
      table_bytes_ = number(p + 1, 3);
    }
    at += 4 + number(p + 1, 3);
  }
  // No encoder writes frames larger than the samples themselves. If one does, libsndfile is asked.
  verbatim_ = stream_.channels * (int64_t{stream_.block} * (stream_.bits + 1) / 8 + 8);
  verbatim_ += FLAC_HEADER_BYTES + 2;
  most_bytes_ = largest_frame > 0 ? std::min(verbatim_, largest_frame) : verbatim_;
  const int64_t count = fetch(at, FLAC_HEADER_BYTES, PROBE, &p);
  if (count < 2) return false;
  // Frames of one length are numbered, frames of any length say the number of their first sample.
  FlacHeader header;
  stream_.fixed = (p[1] & 1) == 0;
  const bool first = parse_flac_header(p, count, stream_, &header);
  const auto make_room = [this] {
    buffer_.resize(static_cast<size_t>(std::max(READ, verbatim_) + BITS_PADDING));
    planes_.resize(static_cast<size_t>(stream_.channels) * static_cast<size_t>(stream_.block));
  };
  if (!first) {
    stream_.fixed = least_block == stream_.block;
    make_room();
    return find_first(at, smallest_frame);
  }
  if (stream_.fixed && least_block != stream_.block) return false;
  make_room();
  base_ = header.first;
  start_ = {base_, base_ + header.count, at, at + header.bytes};
  return true;
}

// The first frame should be at `from`, and is damaged: find the first one that is not.
bool FlacFile::find_first(int64_t from, int64_t smallest_frame) {
  Place found;
  FlacHeader header;
  for (int64_t at = from; find(at, size_, 0, FLAC_UNKNOWN, false, &found); at = found.offset + 1) {
    if (decode_frame(found.offset, &header) == 0) continue;
    // The numbers begin with 0, unless that leaves no room for the frames before this one.
    const int64_t before = (found.offset - from) / smallest_frame;
    base_ = std::max<int64_t>(0, found.first - before * stream_.block);
    start_ = {base_, base_, from, from};
    return true;
  }
  return false;
}

// Find out which samples there are, from the last frame.
bool FlacFile::measure_frames() {
  Place last;
  if (!find_last(start_.offset, size_, &last)) return false;
  if (last.stop - base_ != declared_ || base_ != 0 || is_uneven(last)) {
    // Another stream may follow this one. To find it, the whole file is read.
    const int64_t other = find_stream(start_.offset);
    if (other > 0) {
      end_ = size_ = other;
      begin_ = held_ = 0;
      if (!find_last(start_.offset, size_, &last)) return false;
    }
  }
  if (last.stop <= base_) return false;
  limit(last.stop);
  return !failed_;
}

// Find the last frame in bytes [begin, end) that can be decoded.
bool FlacFile::find_last(int64_t begin, int64_t end, Place* last) {
  std::vector<Place> found;
  for (int64_t span = most_bytes_, stop = end; stop > begin; span *= 8) {
    // Candidates are headers; those behind `stop` have been tried.
    const int64_t from = std::max(begin, end - span);
    found.clear();
    Place one;
    for (int64_t at = from; find(at, stop, 0, FLAC_UNKNOWN, false, &one); at = one.offset + 1)
      found.push_back(one);
    FlacHeader header;
    for (auto it = found.rbegin(); it != found.rend(); ++it) {
      const int64_t bytes = decode_frame(it->offset, &header);
      if (bytes == 0 || it->offset + bytes > end) continue;
      *last = {header.first, header.first + header.count, it->offset, it->offset + bytes};
      return true;
    }
    stop = std::min(stop, from + FLAC_HEADER_BYTES);
    if (from == begin) break;
  }
  return false;
}

// Whether the frame in the middle of the file has a number that is far from the middle, or the file is larger
// than its frames can be: then another stream of the same length may follow.
bool FlacFile::is_uneven(const Place& last) {
  const int64_t blocks = (last.stop - base_ + stream_.block - 1) / stream_.block;
  if (stream_.fixed && last.end - start_.offset > blocks * most_bytes_) return true;
  Place middle;
  const int64_t half = (last.stop - base_) / 2;
  if (!find((start_.offset + last.end) / 2, last.end, 0, FLAC_UNKNOWN, false, &middle)) return true;
  if (middle.offset == last.offset) return false;  // a short file
  return middle.first - base_ < half / 2 || middle.first - base_ > half + half / 2;
}

// Return the offset behind `from` where a FLAC stream begins, or 0.
int64_t FlacFile::find_stream(int64_t from) {
  const unsigned char* p;
  while (size_ - from >= MARK_BYTES) {
    const int64_t count = fetch(from, MARK_BYTES, READ, &p);
    if (count < MARK_BYTES) return 0;
    const int64_t last = count - MARK_BYTES;
    for (int64_t i = 0; i <= last; ++i) {
      const void* mark = std::memchr(p + i, MARK[0], static_cast<size_t>(last - i + 1));
      if (!mark) break;
      i = static_cast<const unsigned char*>(mark) - p;
      if (std::memcmp(p + i, MARK, 4) == 0 && (p[i + 4] & 0x7F) == 0 &&
          std::memcmp(p + i + 5, INFO, 3) == 0)
        return from + i;
    }
    from += last + 1;
  }
  return 0;
}

// Make the `count` bytes from `offset` on available at `*p`, and return how many there are: fewer at the
// end of the file. If they have to be read from the system, read at least `unit` bytes.
int64_t FlacFile::fetch(int64_t offset, int64_t count, int64_t unit, const unsigned char** p) {
  const int64_t wanted = std::min(count, size_ - offset);
  if (wanted <= 0) return 0;
  if (offset < begin_ || offset + wanted > begin_ + held_) {
    const int64_t kept = offset < begin_ ? 0 : std::max<int64_t>(0, begin_ + held_ - offset);
    if (kept > 0) std::memmove(buffer_.data(), buffer_.data() + (offset - begin_), kept);
    const int64_t most = unit > count ? kept + bytes_->at_hand(offset + kept, unit - kept) : count;
    const int64_t more = std::min(std::max(count, most), size_ - offset) - kept;
    const int64_t got = bytes_->read(offset + kept, buffer_.data() + kept, more);
    failed_ = got < 0;
    begin_ = offset;
    held_ = kept + std::max<int64_t>(0, got);
  }
  *p = buffer_.data() + (offset - begin_);
  return begin_ + held_ - offset;
}

// How many of the `count` bytes from `offset` on can be had without asking a store for more.
int64_t FlacFile::ready(int64_t offset, int64_t count) const {
  const int64_t held = offset < begin_ ? 0 : std::max<int64_t>(0, begin_ + held_ - offset);
  if (held >= count) return count;
  return held + bytes_->ready(offset + held, count - held);
}

// Decode the frame at `offset`. Return its bytes, or 0 if there is none.
int64_t FlacFile::decode_frame(int64_t offset, FlacHeader* header) {
  const unsigned char* p;
  // Few frames are as long as the longest one: what lies behind the frame is not asked for in vain.
  const int64_t longest = std::min(most_bytes_, size_ - offset), near = ready(offset, longest);
  if (near >= LEAST_FRAME && near < longest) {
    const int64_t count = std::min(fetch(offset, near, near, &p), near);
    const int64_t bytes = count > 0 ? decode_flac_frame(p, count, stream_, header, planes_.data()) : 0;
    if (bytes > 0) return bytes;
  }
  for (const int64_t most : {most_bytes_, verbatim_}) {  // what the header says of its frames may be wrong
    const int64_t count = std::min(fetch(offset, most, READ, &p), most);
    const int64_t bytes =
        count > 0 ? decode_flac_frame(p, count, stream_, header, planes_.data()) : 0;
    if (bytes > 0) return bytes;
    if (count < most || most == verbatim_) break;
  }
  return 0;
}

// The same. Return false if it does not begin with sample `first`.
bool FlacFile::decode(int64_t offset, int64_t first) {
  FlacHeader header;
  const int64_t bytes = decode_frame(offset, &header);
  if (bytes == 0 || header.first != first) {
    block_ = {base_, base_, start_.offset, start_.offset};
    return false;
  }
  block_ = {first, first + header.count, offset, offset + bytes};
  known_[static_cast<size_t>(slot(first))] = block_;
  return true;
}

int64_t FlacFile::read(void* to, int64_t frames) {
  int64_t done = 0;
  frames = std::min(frames, stream_.stop - position_);
  while (done < frames) {
    if (position_ < block_.first || position_ >= block_.stop) {
      const bool next = position_ == block_.stop && decode(block_.end, position_);
      if (!next && !reach(position_)) break;
    }
    const int64_t some = std::min(frames - done, block_.stop - position_);
    const int32_t* from = planes_.data() + (position_ - block_.first);
    if (stream_.bits <= 16)
      interleave(from, stream_.block, stream_.channels, 16 - stream_.bits, some,
                 static_cast<int16_t*>(to) + done * stream_.channels);
    else
      interleave(from, stream_.block, stream_.channels, 32 - stream_.bits, some,
                 static_cast<int32_t*>(to) + done * stream_.channels);
    done += some;
    position_ += some;
  }
  return done;
}

// Decode the frame that holds sample `frame`. Frames that were decoded before only make it faster.
bool FlacFile::reach(int64_t frame) {
  const Place low = known_before(frame);
  Place high = {stream_.stop, stream_.stop, size_, size_};
  for (int64_t i = slot(frame); i < KNOWN && high.first == stream_.stop; ++i)
    if (known_[i].first > frame) high = known_[i];
  if (!search(frame, low, high, false) && !search(frame, low, high, true)) return false;
  entered_ = block_;
  return true;
}

bool FlacFile::look(int64_t from, int64_t to) {
  Place first, last;
  to = std::min(to, size_);
  if (!find(std::max(from, start_.offset), to, base_, stream_.stop, true, &first) || first.end > to) return false;
  if (!find_last(first.offset, to, &last)) return false;
  entered_ = first;
  block_ = last;
  return true;
}

std::vector<std::pair<int64_t, int64_t>> FlacFile::claims() {
  std::vector<std::pair<int64_t, int64_t>> found;
  const unsigned char* p;
  int64_t count = std::min(table_bytes_, READ);
  count = std::min(count, fetch(table_, ready(table_, count), PROBE, &p));
  for (int64_t i = 0; i + POINT <= count; i += POINT) {
    if (p[i] & 0x80) break;  // what follows is room for more
    const int64_t first = number(p + i, 8), offset = p[i + 8] & 0x80 ? size_ : number(p + i + 8, 8);
    if (first >= frames() || offset >= size_ - start_.offset) return {};
    const int64_t place = start_.offset + offset;
    if (!found.empty() && (first <= found.back().first || place <= found.back().second)) return {};
    found.emplace_back(first, place);
  }
  return found;
}

void FlacFile::learn(int64_t first, int64_t stop, int64_t offset, int64_t end) {
  const Place place{base_ + first, base_ + stop, offset, end};
  if (first < 0 || stop <= first || place.stop > stream_.stop || offset < start_.offset || end > size_) return;
  known_[static_cast<size_t>(slot(place.first))] = place;
}

// The last frame known that does not begin behind sample `frame`.
FlacFile::Place FlacFile::known_before(int64_t frame) const {
  for (int64_t i = slot(frame); i >= 0; --i)
    if (known_[i].stop > 0 && known_[i].first <= frame) return known_[i];
  return start_;
}

int64_t FlacFile::slot(int64_t frame) const {
  return (frame - base_) * KNOWN / (stream_.stop - base_);
}

int64_t FlacFile::next_readable(int64_t frame) {
  const int64_t first = base_ + frame;
  if (first >= stream_.stop) return -1;
  Place found;
  const bool any = find(known_before(first).end, size_, first, stream_.stop, true, &found);
  return any ? found.first - base_ : -1;
}

// Decode the frame that holds sample `frame` and is `low`, or between `low` and `high`. On the way, headers
// are trusted without decoding their frames; the frame that is found in the end is decoded and checked.
// Audio data that look like a header can make that fail. Then `strict` decodes every frame on the way.
bool FlacFile::search(int64_t frame, Place low, Place high, bool strict) {
  for (int guesses = 0; low.stop <= frame; ++guesses) {
    int64_t from = (low.end + high.offset) / 2;
    if (guesses < INTERPOLATED) {
      const double bytes = static_cast<double>(high.offset - low.offset) /
                           static_cast<double>(high.first - low.first);
      const double samples = static_cast<double>(frame - low.first - stream_.block);
      from = low.offset + static_cast<int64_t>(bytes * samples);
    }
    // Close enough to go frame by frame, unless a store would have to be asked for what is before.
    if (from < low.end + (ready(low.end, 1) > 0 ? PROBE : 1)) from = low.end;
    if (from >= high.offset) from = std::max(low.end, high.offset - PROBE);
    Place found;
    const bool any = find(from, high.offset, low.stop, high.first, strict, &found);
    if (any && found.first <= frame) {
      low = found;
    } else if (from == low.end) {
      return false;
    } else {
      high.offset = from;  // no frame begins between here and the one that was found, if any
      if (any) high.first = found.first;
    }
  }
  return decode(low.offset, low.first);
}

// Find the first header in bytes [from, to) whose frame begins with a sample in [first, stop). With
// `strict`, its frame has to be undamaged.
bool FlacFile::find(int64_t from, int64_t to, int64_t first, int64_t stop, bool strict,
                    Place* place) {
  const unsigned char* p;
  FlacHeader header;
  for (; from < to; ++from) {
    int64_t count = fetch(from, FLAC_HEADER_BYTES, PROBE, &p);
    if (count < 1) return false;
    count = std::min(count, to - from);
    const void* sync = std::memchr(p, 0xFF, static_cast<size_t>(count));
    if (!sync) {
      from += count - 1;
      continue;
    }
    from += static_cast<const unsigned char*>(sync) - p;
    count = fetch(from, FLAC_HEADER_BYTES, PROBE, &p);
    if (!parse_flac_header(p, count, stream_, &header) || header.first < first ||
        header.first >= stop)
      continue;
    *place = {header.first, header.first + header.count, from, from + header.bytes};
    if (!strict) return true;
    if (decode(from, header.first)) {
      *place = block_;
      return true;
    }
  }
  return false;
}

}  // namespace headrace
