// Its types are in every signature here: one import is enough for an application.
@_exported public import EventStream
