package backend

import (
	"testing"

	"github.com/jackc/pgproto3/v2"
)

func TestStatusCode(t *testing.T) {
	for sent, want := range map[string]string{"28P01": "28P01", "": "", "28P": "", "28P011": "", "28p01": "", "\xff\xfe\xfd\xfc\xfb": ""} {
		e := &ServerError{Fields: pgproto3.ErrorResponse{Code: sent}}
		if got := e.StatusCode(); got != want {
			t.Errorf("%q: %q, want %q", sent, got, want)
		}
	}
}
