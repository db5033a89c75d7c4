// Package labapi holds the project to the interface of the courses. Its tests compile
// only while every signature of the labs is there. The tests fail if a package takes a
// name that a course's own harness declares, because the harness is compiled into the
// package.
package labapi
