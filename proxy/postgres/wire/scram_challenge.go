package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxIterations caps the work that a server can make us do, in rounds of
	// HMAC-SHA-256: about 0.2 s. PostgreSQL's default is 4,096.
	maxIterations = 1 << 20
	// MaxScramMessage caps one SCRAM message, in bytes. PostgreSQL's have about
	// 100.
	MaxScramMessage = 4 << 10
	// maxMechanisms caps the list of SASL mechanisms. PostgreSQL 18 offers two
	// or three.
	maxMechanisms = 32
)

// CheckChallenge caps what a server-first message can ask for. Fewer rounds than
// RFC 7677 demands are taken only from a server that is known: PostgreSQL can be
// set to them (scram_iterations).
func CheckChallenge(b []byte, known bool) error {
	if len(b) > MaxScramMessage {
		return fmt.Errorf("%d bytes", len(b))
	}
	_, rounds, ok := strings.Cut(string(b), ",i=")
	if !ok {
		return errors.New("no iteration count")
	}
	rounds, _, _ = strings.Cut(rounds, ",")
	n, err := strconv.Atoi(rounds)
	if err != nil {
		return errors.New("an iteration count that is not a number")
	}
	if n < 1 || n > maxIterations || n < 4096 && !known {
		return fmt.Errorf("%d iterations", n)
	}
	return nil
}

// ParseMechanisms parses the body of AuthenticationSASL: names, each ended by a
// NUL, and a NUL at the end.
func ParseMechanisms(b []byte) ([]string, error) {
	var names []string
	for {
		name, rest, ok := bytes.Cut(b, []byte{0})
		switch {
		case !ok:
			return nil, errors.New("no terminator")
		case len(name) == 0 && len(rest) != 0:
			return nil, errors.New("bytes after the terminator")
		case len(name) == 0 && len(names) == 0:
			return nil, errors.New("no mechanism")
		case len(name) == 0:
			return names, nil
		case len(names) == maxMechanisms:
			return nil, errors.New("too many mechanisms")
		}
		names, b = append(names, string(name)), rest
	}
}
