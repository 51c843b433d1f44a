package topology

import (
	"context"
	"fmt"
)

// RoleOf returns the role of a server that takes no writes, or does.
func RoleOf(readOnly bool) Role {
	if readOnly {
		return Reader
	}
	return Writer
}

// RolePostgres asks a server of PostgreSQL what it is; id is the moment of its start.
// The session is for no client afterwards, since settings of it were changed.
func RolePostgres(ctx context.Context, s Session) (role Role, id string, err error) {
	rows, err := s.Query(ctx, beforeAsking, "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_postmaster_start_time()")
	if err != nil {
		return Unknown, "", err
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return Unknown, "", fmt.Errorf("the database answers the question for its role with %d rows", len(rows))
	}
	return RoleOf(rows[0][0] != "f"), rows[0][1], nil
}
