// Package memory keeps what the process takes of memory near to what it needs: below a
// container's limit, and no longer than a burst of logins.
//
// Invariant: a limit that the environment sets (GOMEMLIMIT) stays.
//
// The package counts no sessions and knows nothing of what the memory is for.
package memory

import (
	"context"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// Limit has the garbage collector work harder before a container's limit of
// memory is reached, at nine tenths of it, unless the variable GOMEMLIMIT has a
// limit already. (GOMAXPROCS follows the container's limit by itself.)
func Limit(root fs.FS) {
	if limit := cgroupLimit(root); limit < math.MaxInt64 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// cgroupLimit returns the least limit of memory that the files of control groups name,
// of both versions, in bytes; MaxInt64 if there is none.
func cgroupLimit(root fs.FS) int64 {
	files := []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}
	own, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/"); ok && path != "" {
			files = append(files, "sys/fs/cgroup/"+path+"/memory.max")
		}
	}
	least := int64(math.MaxInt64)
	for _, file := range files {
		text, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		// Without a limit version 2 says "max", version 1 a number above all memory.
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < 1<<60 {
			least = min(least, n)
		}
	}
	return least
}

// Release gives memory back to the system when all is at rest: when nothing
// has made the garbage collector run since the last look, and more than a quarter
// of the heap is unused. Many logins at once leave it and the stacks larger than the
// sessions then need, and nothing else would ever shrink them. It returns when ctx
// ends.
func Release(ctx context.Context, every time.Duration) {
	looks := time.NewTicker(every)
	defer looks.Stop()
	for last := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
		}
		live, spare, collections := heap()
		if collections == last && spare > live/4+1<<20 {
			for before := 2 * stacks(); stacks() < before-before/8; {
				before = stacks()
				debug.FreeOSMemory() // which makes a stack no less than half as large
			}
			_, _, collections = heap()
		}
		last = collections
	}
}

// heap is what of the heap was in use at the last collection, and what has come on
// top of that or is free but not given back, in bytes; and how many collections
// there were.
func heap() (live, spare, collections uint64) {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	live, objects, free := s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64()
	return live, max(live, objects+free) - live, s[3].Value.Uint64()
}

// stacks returns the size of all goroutines' stacks, in bytes.
func stacks() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
