// Reads windows in several threads, under ThreadSanitizer, while another thread watches, abandons and cancels
// the calls, as Python does. Prints how many windows were read, how many were refused, and how many of those
// were given the reason of another file.
//
// Usage: race_reader FOLDER
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "arithmetic/instruction_sets.h"
#include "reader/reader.h"

namespace {

using headrace::LibsndfileFunctions;

constexpr int THREADS = 4, ROUNDS = 60, SIZE = 512, WINDOWS = 4;

// A library that refuses every file, and keeps the reason, the file's first byte, where all threads share it.
std::atomic<unsigned char> reason{0};
void* refuse(int descriptor, int, LibsndfileFunctions::Info*, int) {
  unsigned char first = 0;
  if (::read(descriptor, &first, 1) != 1) std::abort();
  reason = first;
  std::this_thread::yield();
  return nullptr;
}
void* no_open(const void*, int, LibsndfileFunctions::Info*) { return nullptr; }
int one(void*) { return 1; }
int64_t no_seek(void*, int64_t, int) { return -1; }
int64_t no_read(void*, void*, int64_t) { return 0; }
const char* reason_text(void*) {
  static thread_local char text[2] = {};
  text[0] = static_cast<char>(reason.load());
  return text;
}

void write_file(const std::string& path, const std::string& content) {
  std::FILE* out = std::fopen(path.c_str(), "wb");
  if (!out || std::fwrite(content.data(), 1, content.size(), out) != content.size()) std::abort();
  std::fclose(out);
}

std::string number(uint32_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::string wav(uint32_t frames) {
  return "RIFF" + number(36 + 2 * frames, 4) + "WAVEfmt " + number(16, 4) + number(1, 2) + number(1, 2) +
         number(8000, 4) + number(16000, 4) + number(2, 2) + number(16, 2) + "data" + number(2 * frames, 4) +
         std::string(2 * frames, 'x');
}

}  // namespace

int main(int, char** arguments) {
  const std::string folder = arguments[1];
  constexpr int64_t FRAMES = WINDOWS * SIZE;
  std::vector<headrace::RecordingFile> files;
  for (int n = 0; n < THREADS; ++n) {
    const std::string good = folder + "/good" + std::to_string(n), bad = folder + "/bad" + std::to_string(n);
    write_file(good, wav(FRAMES));
    write_file(bad, std::string(100, static_cast<char>('a' + n)));
    files.push_back({2 * n, 0, FRAMES, 0, {good, 0, -1, nullptr}, ""});
    files.push_back({2 * n + 1, 0, FRAMES, 0, {bad, 0, -1, nullptr}, ""});
  }
  const headrace::Filter filter({});
  headrace::RecordingFormat format{{}, &filter, 1, 1, SIZE, 0};
  format.source.sample_rate = 8000;
  format.source.channels = 1;
  format.source.sample_type = headrace::SampleType::INT16;
  format.source.exact_seek = true;
  format.source.sndfile_format = 0x10002;
  format.source.wav_encoding = headrace::WavEncoding::INT16;
  const LibsndfileFunctions library{no_open, one, no_seek, {no_read, no_read, no_read, no_read}, one,
                                    reason_text, nullptr, refuse};
  headrace::Reader reader({format}, library, headrace::find_instruction_set("portable").resample, SIZE, 0,
                          {1 << 12, 1, 4 * SIZE, 4 * SIZE}, 2);

  headrace::CancelFlag cancel{0};
  std::vector<headrace::Heartbeat> heartbeats(THREADS);
  std::atomic<int64_t> read{0}, refused{0}, mistaken{0}, running{THREADS};
  const auto work = [&](int n) {
    std::vector<float> memory(2 * WINDOWS * SIZE);
    std::vector<float*> rows;
    for (int i = 0; i < 2 * WINDOWS; ++i) rows.push_back(memory.data() + i * SIZE);
    const headrace::ReadRequest good{&files[2 * n], {0, SIZE, 2 * SIZE, 3 * SIZE}, 0};
    const headrace::ReadRequest bad{&files[2 * n + 1], {0, SIZE, 2 * SIZE, 3 * SIZE}, WINDOWS};
    for (int round = 0; round < ROUNDS; ++round) {
      const auto result = reader.read({good, bad}, rows.data(), &cancel, &heartbeats[n]);
      if (result.cancelled) {
        heartbeats[n].abandoned = 0;
        continue;
      }
      read += WINDOWS;
      for (const auto& lost : result.lost) {
        ++refused;
        mistaken += lost.message.find(std::string("(") + static_cast<char>('a' + n) + ")") ==
                    std::string::npos;
      }
    }
    --running;
  };
  std::vector<std::thread> threads;
  for (int n = 0; n < THREADS; ++n) threads.emplace_back(work, n);
  uint32_t seen = 0;
  for (int64_t turn = 0; running > 0; ++turn) {
    headrace::Heartbeat& heartbeat = heartbeats[turn % THREADS];
    seen += heartbeat.pulse.load() + heartbeat.recording.load();
    if (turn % 64 == 0) heartbeat.abandoned = 1;
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
  cancel = 1;
  float row[SIZE];
  float* rows[] = {row};
  const headrace::ReadRequest last{&files[0], {0}, 0};
  if (!reader.read({last}, rows, &cancel, nullptr).cancelled) std::abort();
  reader.close();
  std::printf("%lld %lld %lld %d\n", static_cast<long long>(read), static_cast<long long>(refused),
              static_cast<long long>(mistaken), seen > 0);
}
