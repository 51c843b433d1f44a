package upgrade_test

import (
	"testing"
)

// TestUpgrade puts one new process in place.
func TestUpgrade(t *testing.T) {
	s := newStand(t)
	old := s.connect()
	s.install("v1.1.0")
	s.upgrade()
	if st := s.status(); st.Version != "v1.1.0" || st.PID != s.pids[1] || !st.Ready || len(st.Predecessors) != 1 || st.Predecessors[0].Sessions != 1 {
		t.Errorf("%+v", st)
	}
	var n int
	must(t, old.QueryRow(t.Context(), "SELECT 1").Scan(&n))
	must(t, s.connect().QueryRow(t.Context(), "SELECT 1").Scan(&n))
}
