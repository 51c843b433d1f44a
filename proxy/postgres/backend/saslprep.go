package backend

import (
	"strings"

	"github.com/xdg-go/stringprep"
)

// saslprep prepares a password for SCRAM as PostgreSQL does (pg_saslprep in
// src/common/saslprep.c), on whose result the stored keys depend. It is SASLprep
// (RFC 4013) with three differences: a zero width space becomes a space, since
// it stands in both tables; what is forbidden is looked for before
// normalization; and a password that SASLprep refuses, or of which it would
// leave nothing, is used as it is.
func saslprep(password string) string {
	mapped := strings.Map(func(r rune) rune {
		if stringprep.TableC1_2.Contains(r) {
			return ' '
		}
		if _, nothing := stringprep.TableB1.Map(r); nothing {
			return -1
		}
		return r
	}, password)
	forbidden := stringprep.Profile{Prohibits: stringprep.SASLprep.Prohibits, CheckBiDi: true}
	if _, err := forbidden.Prepare(mapped); err != nil || mapped == "" {
		return password
	}
	normalized, err := stringprep.Profile{Normalize: true}.Prepare(mapped)
	if err != nil {
		return password
	}
	return normalized
}
