// Package filewatch tells of changes of a file, or of the files in a directory, by
// inotify and by looking now and then: [Watcher].
//
// Invariant: a change is told once what is seen stands still, and no change is missed for
// longer than the interval of the looks, whatever the kernel tells.
//
// A Watcher does not read files: whoever watches says what is to be compared, such as [Sums].
package filewatch
