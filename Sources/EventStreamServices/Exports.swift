// An application that embeds roles imports this module alone.
@_exported public import EventStreamArchiver
@_exported public import EventStreamDiscarder
@_exported public import EventStreamGenerator
@_exported public import EventStreamPusher
@_exported public import EventStreamRelay
@_exported public import EventStreamServer
