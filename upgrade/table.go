package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
)

const (
	// maxTable caps a table, in bytes: 1000 databases with 10 listeners each fit.
	maxTable = 4 << 20
	// maxSockets caps how many sockets a table may name.
	maxSockets = 20000
	// MaxPredecessors is how many old processes may have sessions at a time.
	MaxPredecessors = 32
)

// Key names a socket: what it is for, and which of these it is.
type Key struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Origin is an old process.
type Origin struct {
	Number int `json:"number"` // of processes since the one that was started as ever, which is 1
	PID    int `json:"pid"`
}

// table says what the descriptors are that a new process gets: after the line and the
// table itself the sockets, then the lines of predecessors.
type table struct {
	From         Origin          `json:"from"` // the process at the other end of the line
	Sockets      []Key           `json:"sockets"`
	Predecessors []Origin        `json:"predecessors,omitempty"`
	State        json.RawMessage `json:"state,omitempty"`
}

// parseTable reads a table for so many descriptors. What a later version may add is no
// error: a new process may be of an older version.
func parseTable(text []byte, descriptors int) (table, error) {
	var t table
	if len(text) > maxTable {
		return t, fmt.Errorf("the table of sockets has more than %d bytes", maxTable)
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return t, fmt.Errorf("the table of sockets: %w", err)
	}
	switch {
	case len(t.Sockets) > maxSockets || len(t.Predecessors) > MaxPredecessors:
		return t, fmt.Errorf("the table of sockets names %d sockets and %d processes; there may be %d and %d", len(t.Sockets), len(t.Predecessors), maxSockets, MaxPredecessors)
	case 2+len(t.Sockets)+len(t.Predecessors) != descriptors:
		return t, fmt.Errorf("the table of sockets names %d sockets and %d processes, which %d descriptors cannot be", len(t.Sockets), len(t.Predecessors), descriptors)
	case t.From.Number < 1:
		return t, errors.New("the table of sockets does not say which process made it")
	}
	return t, nil
}
