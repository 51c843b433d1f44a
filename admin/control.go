package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxControlBody caps the body of a control request, in bytes.
const maxControlBody = 4 << 10

// maxReason caps BreakGlassRequest.Reason, in bytes: it goes to the audit log.
const maxReason = 500

// BreakGlassRequest is the body of POST /break-glass.
type BreakGlassRequest struct {
	Reason   string   `json:"reason,omitempty"`   // required unless End; at most 500 bytes
	Duration Duration `json:"duration,omitempty"` // 0: the configuration's break_glass.max_duration
	End      bool     `json:"end,omitempty"`      // go back to the normal credential
	Database string   `json:"database,omitempty"` // "": all that have an emergency credential
}

// Duration is a time.Duration that JSON shows as "30m".
type Duration time.Duration

// MarshalText writes what time.ParseDuration reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration does.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Answer is the body of health checks and control endpoints.
type Answer struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons,omitempty"` // why not
	*Upgraded
}

// answer writes all of an Answer with its length: a client of quit must not take the
// end of the server for the loss of a part.
func answer(w http.ResponseWriter, status int, reasons ...string) {
	write(w, status, Answer{OK: len(reasons) == 0, Reasons: reasons})
}

func write(w http.ResponseWriter, status int, a Answer) {
	body, _ := json.Marshal(a) // strings and numbers always encode
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// quit starts the drain, after it has said so: the server may end with it. A body
// has no meaning, but some clients cannot POST without one.
func quit(start func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if start == nil {
			answer(w, http.StatusNotImplemented, "this credproxy cannot be shut down over HTTP")
			return
		}
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxControlBody))
		answer(w, http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		start()
	}
}

// breakGlass passes a well-formed request on. Its error becomes 409.
func breakGlass(do func(BreakGlassRequest) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if do == nil {
			answer(w, http.StatusNotImplemented, "no database of this credproxy has an emergency credential; set break_glass.file in its configuration")
			return
		}
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			answer(w, http.StatusUnsupportedMediaType, "the body must be of Content-Type application/json")
			return
		}
		req, err := readBreakGlass(http.MaxBytesReader(w, r.Body, maxControlBody))
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			answer(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have %d bytes", tooLarge.Limit))
			return
		}
		if err != nil {
			answer(w, http.StatusBadRequest, err.Error())
			return
		}
		if err := do(req); err != nil {
			answer(w, http.StatusConflict, err.Error())
			return
		}
		answer(w, http.StatusOK)
	}
}

func readBreakGlass(body io.Reader) (req BreakGlassRequest, err error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return req, fmt.Errorf("the body is not what POST /break-glass takes: %w", err)
	}
	switch req.Reason = strings.TrimSpace(req.Reason); {
	case dec.More():
		return req, errors.New("the body goes on after its JSON object")
	case req.End && (req.Reason != "" || req.Duration != 0):
		return req, errors.New("end goes without reason and duration")
	case !req.End && req.Reason == "":
		return req, errors.New("reason is missing; it goes to the audit log")
	case len(req.Reason) > maxReason:
		return req, fmt.Errorf("reason has %d bytes; it may have %d", len(req.Reason), maxReason)
	case req.Duration < 0:
		return req, errors.New("duration is negative")
	}
	return req, nil
}
