package file

import (
	"context"

	"github.com/credproxy/credproxy/filewatch"
	"github.com/credproxy/credproxy/secrets"
)

// Watch calls changed once when it starts and after each change of what the
// files say, until ctx ends. A change that leaves no credential to be read
// counts after about 2 s, the time a writer has to finish.
func (s *Source) Watch(ctx context.Context, changed func()) error {
	w := filewatch.Watcher{Path: s.path, Look: s.look, Changed: changed, Notify: s.notify}
	w.Run(ctx)
	return nil
}

// content is what a look sees; equal contents mean that nothing changed.
type content struct {
	version  string
	endpoint secrets.Endpoint
	failure  string
}

func (s *Source) look(ctx context.Context) (seen any, whole bool) {
	c, err := s.Fetch(ctx, secrets.Current)
	if err != nil {
		return content{failure: err.Error()}, false
	}
	return content{version: c.VersionID, endpoint: c.Endpoint}, true
}
