package secrets

import "context"

// Proven returns a credential that any number of logins may offer without waiting for a
// verdict. Where there is none, it finds one by prove, as [Cache.Login] does by try: for
// those who offer it where the answer would be none. The error is Login's.
func (c *Cache) Proven(ctx context.Context, prove func(context.Context, *Credential) error) (proven *Credential, err error) {
	e := c.inEmergency()
	if cred := c.emergencyCredential(e); cred == nil || c.refusedLately(cred) {
		proven = c.trusted()
	} else if c.emergencyTrusted(e) {
		proven = cred
	}
	if proven != nil {
		return proven, nil
	}
	err = c.Login(ctx, func(ctx context.Context, cred *Credential) error {
		err := prove(ctx, cred)
		if err == nil {
			proven = cred
		}
		return err
	})
	if proven == nil && !IsRejected(err) { // there is no verdict to be had
		proven = c.trusted()
	}
	if proven != nil {
		return proven, nil
	}
	return nil, err
}
