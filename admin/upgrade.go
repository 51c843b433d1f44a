package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// UpgradeTimeout is how long a new process may take to be ready, unless the request says
	// otherwise.
	UpgradeTimeout = time.Minute
	// MaxUpgradeTimeout caps what a request may say.
	MaxUpgradeTimeout = time.Hour
	// upgradeGrace is what an upgrade may take beside that.
	upgradeGrace = time.Minute
)

// UpgradeRequest is the body of POST /upgrade, which may be empty.
type UpgradeRequest struct {
	Timeout Duration `json:"timeout,omitempty"` // 0: UpgradeTimeout
}

// Upgraded says who has taken over.
type Upgraded struct {
	PID          int   `json:"pid"`
	SessionsLeft int64 `json:"sessions_left"` // of the old process
}

// upgrade answers an [Answer], and an [Upgraded] in it if it went well. An error becomes 409.
func upgrade(do func(context.Context, time.Duration) (Upgraded, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if do == nil {
			answer(w, http.StatusNotImplemented, "this credproxy cannot be upgraded while it runs")
			return
		}
		var req UpgradeRequest
		if r.ContentLength != 0 {
			dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&req); err != nil || dec.More() {
				answer(w, http.StatusBadRequest, "the body is not what POST /upgrade takes, such as {\"timeout\": \"2m\"}")
				return
			}
		}
		timeout := time.Duration(req.Timeout)
		if timeout < 0 || timeout > MaxUpgradeTimeout {
			answer(w, http.StatusBadRequest, fmt.Sprintf("timeout is %s; it may be between 0s and %s", timeout, MaxUpgradeTimeout))
			return
		}
		late := time.Now().Add(max(timeout, UpgradeTimeout) + upgradeGrace)
		_ = http.NewResponseController(w).SetWriteDeadline(late) // the server's own is for answers at once
		done, err := do(r.Context(), timeout)
		if err != nil {
			answer(w, http.StatusConflict, err.Error())
			return
		}
		write(w, http.StatusOK, Answer{OK: true, Upgraded: &done})
	}
}
