package memory

import (
	"context"
	"math"
	"runtime"
	"sync"
	"testing"
	"testing/fstest"
	"time"
)

func TestCgroupLimit(t *testing.T) {
	const own = "proc/self/cgroup"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"none":                {nil, math.MaxInt64},
		"version 2, no limit": {map[string]string{own: "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, math.MaxInt64},
		"container":           {map[string]string{own: "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}, 64 << 20},
		"systemd": {map[string]string{own: "0::/system.slice/credproxy.service\n",
			"sys/fs/cgroup/system.slice/credproxy.service/memory.max": "134217728\n"}, 128 << 20},
		"version 1":           {map[string]string{own: "5:memory:/ecs/x\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n"}, 256 << 20},
		"version 1, no limit": {map[string]string{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, math.MaxInt64},
		"nonsense":            {map[string]string{own: "x", "sys/fs/cgroup/memory.max": "-1\n"}, math.MaxInt64},
	} {
		root := fstest.MapFS{}
		for file, text := range c.files {
			root[file] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := cgroupLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestMemoryIsReleasedAtRest has half of many sessions leave. The runtime by itself
// keeps what they had for a heap of twice the size of what is left.
func TestMemoryIsReleasedAtRest(t *testing.T) {
	var stay, leave [][]byte
	for range 48 {
		stay, leave = append(stay, make([]byte, 1<<20)), append(leave, make([]byte, 1<<20))
	}
	runtime.KeepAlive(leave)
	runtime.GC()
	if _, spare, _ := heap(); spare < 32<<20 {
		t.Fatalf("the heap has %d bytes to spare", spare)
	}
	ctx, stop := context.WithCancel(t.Context())
	var releasing sync.WaitGroup
	releasing.Go(func() { Release(ctx, 10*time.Millisecond) })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, spare, _ := heap()
		if spare < 16<<20 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the heap still has %d bytes to spare", spare)
		}
	}
	runtime.KeepAlive(stay)
	stop()
	releasing.Wait()
}
