package secrets

import (
	"context"
	"time"
)

// description is what a Labelled source told at one moment.
type description struct {
	started time.Time
	labels  Labels
	err     error
}

// named is the version that carries the label according to d.
func (c *Cache) named(ctx context.Context, src Labelled, stage Stage, d *description) *lookup {
	l := &lookup{started: d.started}
	id := d.labels.Versions[stage]
	if id == "" {
		l.err = Errorf(NoVersion, "no version of the secret is labelled %s", stage)
		return l
	}
	c.mu.Lock()
	l.cred = c.version(id)
	c.mu.Unlock()
	if l.cached = l.cred != nil; !l.cached {
		l.err = c.guard(func() (err error) { l.cred, err = src.FetchVersion(ctx, id); return err })
	}
	return l
}

// describe asks which labels there are. An answer from after the moment given
// serves all that ask for lookAgain.
func (c *Cache) describe(ctx context.Context, src Labelled, after time.Time) *description {
	c.describing <- struct{}{} // for fetchTimeout at most
	defer func() { <-c.describing }()
	c.mu.Lock()
	d := c.described
	c.mu.Unlock()
	if d != nil && !d.started.Before(after) && time.Since(d.started) < believed(d.err) {
		return d
	}
	d = &description{started: time.Now()}
	d.err = c.guard(func() (err error) { d.labels, err = src.Describe(ctx); return err })
	c.mu.Lock()
	c.described = d
	c.mu.Unlock()
	if d.err != nil && ReasonOf(d.err) == Denied {
		c.opt.Notify(Event{Kind: DescribeDenied, Err: d.err})
	}
	return d
}

// describeFrom is when to ask for labels next: not for Options.Refresh after it
// was denied.
func (c *Cache) describeFrom() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.described; d != nil && d.err != nil && ReasonOf(d.err) == Denied {
		return d.started.Add(c.opt.Refresh)
	}
	return time.Time{}
}
