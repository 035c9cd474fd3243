// The order in which the pairs of a long word merge: by key, then from left to right.
//
// Places with one key wait in one list, which is sorted once, when its turn comes: a run of a million equal letters
// has few keys, so this is a few passes over memory where a heap of places would be a million random accesses.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

namespace pacos::text {

class MergeQueue {
  public:
    // The pair that begins at symbol `at`; together it would reach over `size`, as its owner measures.
    struct Place {
        uint32_t at, size;
        bool operator<(const Place& other) const { return at < other.at; }
        bool operator>(const Place& other) const { return at > other.at; }
    };

    void push(uint32_t key, Place place) {
        Bucket& bucket = find(key);
        if (!bucket.waiting) {
            bucket.waiting = true;
            keys_.push_back(key);
            std::push_heap(keys_.begin(), keys_.end(), std::greater<>());
        }
        if (bucket.open) {
            bucket.late.push_back(place);
            std::push_heap(bucket.late.begin(), bucket.late.end(), std::greater<>());
        } else {
            bucket.sorted = bucket.sorted && (bucket.places.empty() || bucket.places.back().at <= place.at);
            bucket.places.push_back(place);
        }
    }

    // Take the place with the lowest key, of those the leftmost. False: there is none.
    bool pop(Place& place) {
        while (!keys_.empty()) {
            Bucket& bucket = find(keys_.front());
            if (!bucket.open) {
                if (!bucket.sorted) std::stable_sort(bucket.places.begin(), bucket.places.end());
                bucket.open = true;
                bucket.next = 0;
            }
            const bool more = bucket.next < bucket.places.size();
            if (more && (bucket.late.empty() || !(bucket.late.front() < bucket.places[bucket.next]))) {
                place = bucket.places[bucket.next++];
                return true;
            }
            if (!bucket.late.empty()) {
                place = bucket.late.front();
                std::pop_heap(bucket.late.begin(), bucket.late.end(), std::greater<>());
                bucket.late.pop_back();
                return true;
            }
            bucket.places.clear();
            bucket.open = bucket.waiting = false;
            bucket.sorted = true;
            std::pop_heap(keys_.begin(), keys_.end(), std::greater<>());
            keys_.pop_back();
        }
        return false;
    }

    void clear() {
        buckets_.clear();
        keys_.clear();
        last_ = nullptr;
    }

  private:
    struct Bucket {
        std::vector<Place> places, late;  // late: came when the list was already open
        size_t next = 0;
        bool open = false, sorted = true, waiting = false;
    };

    Bucket& find(uint32_t key) {
        if (!last_ || last_key_ != key) {
            last_ = &buckets_[key];  // the map never moves its values
            last_key_ = key;
        }
        return *last_;
    }

    std::unordered_map<uint32_t, Bucket> buckets_;
    std::vector<uint32_t> keys_;  // a heap of the keys that have places
    Bucket* last_ = nullptr;
    uint32_t last_key_ = 0;
};

}  // namespace pacos::text
