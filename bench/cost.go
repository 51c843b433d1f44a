package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// allTime is what clients, proxy and server have used of the processors until now,
// in seconds. Clients are this process and the programs it has started, as far as
// they have ended.
//
// Where throughput depends on who else wants the processors, this hardly does: the
// ratio of two contenders' times is about how their throughputs would compare on
// processors that had nothing else to do and were busy.
func allTime(server, proxy int) float64 {
	return usage(syscall.RUSAGE_SELF) + usage(syscall.RUSAGE_CHILDREN) + cpuTime(proxy) + treeTime(server)
}

func usage(who int) float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(who, &u) // cannot fail: who is right
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// treeTime is that of a process, of its children, and of those that it had: a
// backend of PostgreSQL is a process.
func treeTime(pid int) float64 {
	f := procStat(pid)
	if f == nil {
		return 0
	}
	total := seconds(f[11:15])
	others, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range others {
		child, _ := strconv.Atoi(filepath.Base(dir))
		if f := procStat(child); f != nil && f[1] == strconv.Itoa(pid) {
			total += seconds(f[11:13])
		}
	}
	return total
}

// cpuTime is what a process has used of the processors, in seconds; 0 for none.
func cpuTime(pid int) float64 {
	if f := procStat(pid); f != nil {
		return seconds(f[11:13])
	}
	return 0
}

// procStat are the fields of a process from its state on (proc_pid_stat(5), from
// field 3); nil if there is no such process.
func procStat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	if f := strings.Fields(rest); len(f) > 15 {
		return f
	}
	return nil
}

// seconds adds times that the kernel counts in hundredths.
func seconds(hundredths []string) (sum float64) {
	for _, h := range hundredths {
		n, _ := strconv.ParseFloat(h, 64)
		sum += n / 100
	}
	return sum
}
